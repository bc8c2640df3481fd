"""Subscription schedules: a change at the end of the period (https://docs.stripe.com/billing/subscriptions/subscription-schedules)."""

from tools.stripe_stand_in import billing
from tools.stripe_stand_in.api import Call, Route, simple_get, simple_list
from tools.stripe_stand_in.changes import set_price
from tools.stripe_stand_in.errors import invalid, malformed
from tools.stripe_stand_in.forms import Params
from tools.stripe_stand_in.periods import end_of_period
from tools.stripe_stand_in.subscriptions import item_of, price_of
from tools.stripe_stand_in.world import Object, World

OPEN = {"not_started", "active"}


def create(world: World, call: Call) -> Object:
    """Take over a subscription as it is: one phase, its current period."""
    params = call.params
    id_ = params.required("from_subscription")
    subscription = world.referred("subscription", id_, "from_subscription")
    if subscription["status"] in billing.ENDED:
        raise invalid("You cannot migrate a subscription that is already canceled to a schedule.")
    if subscription["schedule"]:
        raise invalid("You cannot migrate a subscription that is already attached to a schedule.")
    item = item_of(subscription)
    current = _phase(price_of(subscription)["id"], item["current_period_start"], item["current_period_end"], {})
    current["trial_end"] = subscription["trial_end"] if subscription["status"] == "trialing" else None
    fields = {
        "billing_mode": subscription["billing_mode"],
        "canceled_at": None,
        "completed_at": None,
        "current_phase": {"start_date": current["start_date"], "end_date": current["end_date"]},
        "customer": subscription["customer"],
        "default_settings": {"billing_cycle_anchor": "automatic", "collection_method": "charge_automatically"},
        "end_behavior": "cancel" if subscription["cancel_at_period_end"] else "release",
        "metadata": params.metadata(),
        "phases": [current],
        "released_at": None,
        "released_subscription": None,
        "status": "active",
        "subscription": id_,
        "test_clock": None,
    }
    schedule = world.new("subscription_schedule", world.new_id("sub_sched"), fields)
    world.emit("subscription_schedule.created", schedule)
    world.change(subscription, "customer.subscription.updated", schedule=schedule["id"])
    world.at_period_end[id_] = lambda: _next_phase(world, schedule)
    return schedule


def _phase(price: str, start: int, end: int, metadata: dict[str, str], proration: str = "create_prorations") -> Object:
    item = {"discounts": [], "metadata": {}, "price": price, "quantity": 1, "tax_rates": []}
    return {
        "add_invoice_items": [],
        "collection_method": None,
        "end_date": end,
        "items": [item],
        "metadata": metadata,
        "proration_behavior": proration,
        "start_date": start,
        "trial_end": None,
    }


def update(world: World, call: Call) -> Object:
    """Set the phases: the current one, and at most one after it, which begins with the next period."""
    schedule = _open_schedule(world, call)
    params = call.params
    subscription = world.objects[schedule["subscription"]]
    changes: Object = {"metadata": params.metadata(schedule["metadata"])}
    changes["end_behavior"] = params.choice("end_behavior", "release cancel", schedule["end_behavior"])
    if "phases" in params:
        changes["phases"] = _phases(world, subscription, params.each("phases"))
    world.change(schedule, "subscription_schedule.updated", **changes)
    return schedule


def _phases(world: World, subscription: Object, given_phases: list[Params]) -> list[Object]:
    item = item_of(subscription)
    start, end = item["current_period_start"], item["current_period_end"]
    phases: list[Object] = []
    for number, params in enumerate(given_phases):
        elements = params.each("items")
        if len(elements) != 1:
            raise malformed("The stand-in models phases of one item.", params.path("items"), "parameter_missing")
        price = world.referred("price", elements[0].required("price"), elements[0].path("price"))
        if number:
            start, end = end, end_of_period(end, price["recurring"]["interval"], end)
        for name, expected in (("start_date", start), ("end_date", end)):
            if params.text(name) not in {None, "now", str(expected)}:
                message = f"The stand-in models phases of whole periods: {params.path(name)} must be {expected}."
                raise malformed(message, params.path(name))
        proration = params.choice("proration_behavior", "create_prorations none always_invoice", "create_prorations")
        phases.append(_phase(price["id"], start, end, params.metadata(), proration))
    if not 1 <= len(phases) <= 2 or phases[0]["items"][0]["price"] != price_of(subscription)["id"]:
        raise malformed("The stand-in models the current phase and one more.", "phases")
    phases[0]["trial_end"] = subscription["trial_end"] if subscription["status"] == "trialing" else None
    return phases


def _next_phase(world: World, schedule: Object) -> None:
    """Put the next phase into force, just before the subscription renews; after the last, end the schedule."""
    subscription = world.objects[schedule["subscription"]]
    boundary = item_of(subscription)["current_period_end"]
    following = [phase for phase in schedule["phases"] if phase["start_date"] == boundary]
    if not following:
        if schedule["end_behavior"] == "cancel":
            billing.end(world, subscription, reason="cancellation_requested")
        else:
            _release(world, schedule)
        return
    price = world.objects[following[0]["items"][0]["price"]]
    if price["recurring"]["interval"] != price_of(subscription)["recurring"]["interval"]:
        subscription["billing_cycle_anchor"] = boundary
    set_price(subscription, price)
    current = {"start_date": boundary, "end_date": following[0]["end_date"]}
    world.change(schedule, "subscription_schedule.updated", current_phase=current)
    world.at_period_end[subscription["id"]] = lambda: _next_phase(world, schedule)


def _release(world: World, schedule: Object) -> None:
    id_ = schedule["subscription"]
    world.at_period_end.pop(id_, None)
    released = {"released_at": world.now, "released_subscription": id_, "subscription": None, "current_phase": None}
    world.change(schedule, "subscription_schedule.released", status="released", **released)
    world.change(world.objects[id_], "customer.subscription.updated", schedule=None)


def release(world: World, call: Call) -> Object:
    """https://docs.stripe.com/api/subscription_schedules/release: the subscription stays as it is."""
    schedule = _open_schedule(world, call)
    _release(world, schedule)
    return schedule


def cancel(world: World, call: Call) -> Object:
    """https://docs.stripe.com/api/subscription_schedules/cancel: the subscription ends, too, now."""
    schedule = _open_schedule(world, call)
    billing.end(world, world.objects[schedule["subscription"]], reason="cancellation_requested")
    return schedule


def _open_schedule(world: World, call: Call) -> Object:
    schedule = world.find("subscription_schedule", call.id)
    if schedule["status"] not in OPEN:
        raise invalid(f"The subscription schedule is {schedule['status']}: only an open one can be changed.")
    return schedule


PHASE = "items.price items.quantity start_date end_date proration_behavior metadata.* metadata"
ROUTES = [
    Route("POST", "/v1/subscription_schedules", create, "from_subscription metadata.* metadata"),
    simple_get("subscription_schedule", "/v1/subscription_schedules"),
    simple_list("subscription_schedule", "/v1/subscription_schedules", "customer"),
    Route(
        "POST",
        "/v1/subscription_schedules/{id}",
        update,
        "end_behavior metadata.* metadata " + " ".join(f"phases.{name}" for name in PHASE.split()),
    ),
    Route("POST", "/v1/subscription_schedules/{id}/release", release),
    Route("POST", "/v1/subscription_schedules/{id}/cancel", cancel),
]
