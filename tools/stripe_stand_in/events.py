"""Events of the last 30 days (https://docs.stripe.com/api/events/list)."""

from tools.stripe_stand_in.api import LISTING, Call, Route, listing, simple_get
from tools.stripe_stand_in.errors import invalid
from tools.stripe_stand_in.world import EVENT_LIFETIME, Object, World


def list_events(world: World, call: Call) -> Object:
    types = call.params.texts("types")
    if kind := call.params.text("type"):
        if types:
            raise invalid("Give either `type` or `types`.")
        types = [kind]
    things = [
        event
        for event in world.all("event")
        if event["created"] > world.now - EVENT_LIFETIME
        and world.account_of.get(event["id"]) == call.account
        and (not types or any(_matches(event["type"], each) for each in types))
    ]
    return listing(call, things, "/v1/events")


def _matches(kind: str, pattern: str) -> bool:
    """`charge.*` matches all events whose type begins with `charge.`."""
    return kind.startswith(pattern[:-1]) if pattern.endswith("*") else kind == pattern


ROUTES = [
    Route("GET", "/v1/events", list_events, f"{LISTING} type types"),
    simple_get("event", "/v1/events"),
]
