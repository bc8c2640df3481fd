"""What the endpoints share: routes, lists, expanded and hidden fields."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tools.stripe_stand_in.errors import invalid, malformed, missing
from tools.stripe_stand_in.forms import Params
from tools.stripe_stand_in.world import Object, World

LISTING = "limit starting_after ending_before created created.gte created.gt created.lte created.lt"

# Shown only where a request expands them (https://docs.stripe.com/expand).
HIDDEN = {
    "checkout.session": ("line_items",),
    "invoice": ("payments", "confirmation_secret"),
    "charge": ("refunds",),
}


@dataclass(frozen=True, kw_only=True)
class Call:
    """A request: its parameters, the ids in its path, and the connected account in Stripe-Account."""

    params: Params
    id: str = ""
    account: str | None = None


type Handler = Callable[[World, Call], Object]


@dataclass(frozen=True)
class Route:
    """An endpoint. `accepts` names all modelled parameters: others are refused."""

    method: str
    path: str
    handler: Handler
    accepts: str = ""


def list_of(data: list[Object], url: str, *, has_more: bool = False) -> Object:
    return {"object": "list", "data": data, "has_more": has_more, "url": url}


def listing(call: Call, things: list[Object], url: str) -> Object:
    """Return a page of objects, newest first (https://docs.stripe.com/api/pagination).

    Args:
        things: oldest first.
    """
    limit = call.params.integer("limit", least=1) or 10
    if limit > 100:
        raise malformed("This value must be less than or equal to 100.", "limit", "parameter_invalid_integer")
    chosen = [thing for thing in reversed(things) if _is_created_within(thing, call.params)]
    if after := call.params.text("starting_after"):
        chosen = chosen[_position(chosen, after, "starting_after") + 1 :]
    if before := call.params.text("ending_before"):
        rest = chosen[: _position(chosen, before, "ending_before")]
        return list_of(rest[-limit:], url, has_more=len(rest) > limit)
    return list_of(chosen[:limit], url, has_more=len(chosen) > limit)


def matching(call: Call, things: list[Object], fields: str) -> list[Object]:
    """Return the objects whose fields have the values that the request gives."""
    wanted = {name: value for name in fields.split() if (value := call.params.text(name))}
    return [thing for thing in things if all(str(thing[name]) == value for name, value in wanted.items())]


def simple_list(kind: str, path: str, fields: str = "") -> Route:
    """Return the route that lists the objects of a kind, with equality filters."""

    def handler(world: World, call: Call) -> Object:
        things = [thing for thing in world.all(kind) if world.account_of.get(thing["id"]) == call.account]
        return listing(call, matching(call, [t for t in things if not t.get("deleted")], fields), path)

    return Route("GET", path, handler, f"{LISTING} {fields}")


def simple_get(kind: str, path: str) -> Route:
    return Route("GET", f"{path}/{{id}}", lambda world, call: world.find(kind, call.id, account=call.account))


def _is_created_within(thing: Object, params: Params) -> bool:
    if isinstance(params.values.get("created"), str):
        return bool(thing["created"] == params.integer("created"))
    bounds = params.sub("created")
    tests = {"gte": int.__ge__, "gt": int.__gt__, "lte": int.__le__, "lt": int.__lt__}
    return all(
        test(thing["created"], bound) for name, test in tests.items() if (bound := bounds.integer(name)) is not None
    )


def _position(things: list[Object], id_: str, param: str) -> int:
    for index, thing in enumerate(things):
        if thing["id"] == id_:
            return index
    raise missing("object", id_, param=param, status=400)


def shown(world: World, thing: Object, expand: list[str]) -> Object:
    """Return a copy of an object as a response shows it (https://docs.stripe.com/api/expanding_objects)."""
    result = copy.deepcopy(thing)
    paths = [path.split(".") for path in expand]
    if any(len(path) > 4 + (path[0] == "data") for path in paths):
        raise invalid("You cannot expand more than 4 levels of a property.", param="expand")
    for path in paths:
        _expand(world, result, path, ".".join(path))
    _hide(result, paths)
    return result


def _expand(world: World, node: Any, path: list[str], whole: str) -> None:
    if isinstance(node, list):
        for element in node:
            _expand(world, element, path, whole)
    elif path and isinstance(node, dict):
        name, rest = path[0], path[1:]
        if name not in node or isinstance(node[name], (int, bool)):
            raise invalid(f"This property cannot be expanded ({whole}).", param="expand")
        if isinstance(node[name], str):
            target = world.objects.get(node[name])
            if target is None:
                raise invalid(f"This property cannot be expanded ({whole}).", param="expand")
            node[name] = copy.deepcopy(target)
        _expand(world, node[name], rest, whole)


def _hide(node: Any, paths: list[list[str]]) -> None:
    if isinstance(node, list):
        for element in node:
            _hide(element, paths)
    elif isinstance(node, dict):
        for name in HIDDEN.get(str(node.get("object")), ()):
            if not any(path[:1] == [name] for path in paths):
                node.pop(name, None)
        for name, value in node.items():
            _hide(value, [path[1:] for path in paths if path[:1] == [name]])
