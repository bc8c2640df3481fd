"""Changes of a subscription: upgrades with proration, previews, updates that wait for their payment.

https://docs.stripe.com/billing/subscriptions/change, https://docs.stripe.com/billing/subscriptions/pending-updates
"""

from dataclasses import dataclass

from tools.stripe_stand_in import billing, invoices, periods
from tools.stripe_stand_in.api import Call, Route
from tools.stripe_stand_in.customers import resolve
from tools.stripe_stand_in.errors import StripeError, invalid, malformed
from tools.stripe_stand_in.forms import Params
from tools.stripe_stand_in.subscriptions import item_of, move_period, price_of, watch_period
from tools.stripe_stand_in.world import HOUR, Object, PendingUpdate, World

PENDING_SECONDS = 23 * HOUR
# https://docs.stripe.com/billing/subscriptions/pending-updates-reference
PENDABLE = {"items", "payment_behavior", "proration_behavior", "proration_date", "trial_end", "expand"}
BEHAVIORS = "allow_incomplete default_incomplete error_if_incomplete pending_if_incomplete"


@dataclass(frozen=True, kw_only=True)
class Change:
    """What a change of price or trial means.

    Args:
        lines: what is invoiced for it.
        period: the new current period, if it isn't the old one.
        at_once: whether the lines are due now, whatever `proration_behavior` says.
    """

    price: Object
    lines: list[Object]
    period: tuple[int, int] | None = None
    trial_end: int | None = None
    ends_trial: bool = False
    at_once: bool = False


def plan(world: World, subscription: Object, params: Params, *, items: Params) -> Change:
    """Work out a change; nothing is written.

    Args:
        params: with proration_behavior and proration_date; and those of `items`.
        items: with items and trial_end.
    """
    old, new = price_of(subscription), _new_price(world, subscription, items)
    start, end = item_of(subscription)["current_period_start"], item_of(subscription)["current_period_end"]
    now = world.now
    at = params.integer("proration_date") or now
    if not start <= at <= end:
        raise invalid("Cannot specify proration date outside of current subscription period", param="proration_date")
    interval = new["recurring"]["interval"]
    following = (now, periods.end_of_period(now, interval, now))
    trialing = subscription["status"] == "trialing"
    if items.text("trial_end") == "now" and trialing:
        lines = [invoices.line(world, subscription, new, new["unit_amount"], following)]
        return Change(price=new, lines=lines, period=following, trial_end=now, ends_trial=True, at_once=True)
    if trial_end := (items.integer("trial_end") if items.text("trial_end") != "now" else None):
        if not trialing or trial_end <= now:
            raise invalid("The stand-in moves the end of a running trial only.", param="trial_end")
        return Change(price=new, lines=[], period=(start, trial_end), trial_end=trial_end)
    if trialing or new["id"] == old["id"]:
        return Change(price=new, lines=[], trial_end=subscription["trial_end"])
    prorates = (
        params.choice("proration_behavior", "always_invoice create_prorations none", "create_prorations") != "none"
    )
    credit = -periods.prorated(old["unit_amount"], left=end - at, whole=end - start)
    lines = [invoices.line(world, subscription, old, credit, (at, end), proration=True)] if prorates else []
    trial = subscription["trial_end"]
    if interval != old["recurring"]["interval"]:
        lines.append(invoices.line(world, subscription, new, new["unit_amount"], following))
        return Change(price=new, lines=lines, period=following, trial_end=trial, at_once=True)
    if prorates:
        debit = periods.prorated(new["unit_amount"], left=end - at, whole=end - start)
        lines.append(invoices.line(world, subscription, new, debit, (at, end), proration=True))
    return Change(price=new, lines=lines, trial_end=trial)


def _new_price(world: World, subscription: Object, params: Params) -> Object:
    elements = params.each("items")
    if not elements:
        return price_of(subscription)
    if len(elements) > 1 or elements[0].text("id") != item_of(subscription)["id"]:
        raise invalid("The stand-in models subscriptions of one item: give its id.", param="items[0][id]")
    price = world.referred("price", elements[0].required("price"), "items[0][price]")
    if price["currency"] != subscription["currency"] or price["recurring"] is None:
        raise invalid("The price must be recurring, and in the subscription's currency.", param="items[0][price]")
    return price


def set_price(subscription: Object, price: Object) -> None:
    item_of(subscription)["price"] = dict(price)


def apply(world: World, subscription: Object, change: Change) -> None:
    """Put a change into force."""
    previous = {"items": {"data": [{"price": {"id": price_of(subscription)["id"]}}]}}
    set_price(subscription, change.price)
    subscription.update(pending_update=None, trial_end=change.trial_end)
    if change.period is None:
        world.emit("customer.subscription.updated", subscription, previous)
    else:
        stays_trialing = subscription["status"] == "trialing" and not change.ends_trial
        subscription["billing_cycle_anchor"] = change.period[1 if stays_trialing else 0]
        move_period(world, subscription, change.period, ends_trial=change.ends_trial)


def update(world: World, call: Call) -> Object:
    """https://docs.stripe.com/api/subscriptions/update"""
    subscription = world.find("subscription", call.id)
    params = call.params
    if subscription["status"] in billing.ENDED and not params.values.keys() <= {"metadata", "cancellation_details"}:
        raise invalid("A canceled subscription can only update its cancellation_details and metadata.")
    behavior = params.choice("payment_behavior", BEHAVIORS, "allow_incomplete")
    if behavior == "pending_if_incomplete" and (others := sorted(params.values.keys() - PENDABLE)):
        raise invalid(f"You cannot set {others[0]} with payment_behavior=pending_if_incomplete.", param=others[0])
    change = plan(world, subscription, params, items=params) if "items" in params or "trial_end" in params else None
    _set_fields(world, subscription, params)
    if change:
        _discard_pending(world, subscription)
        _carry_out(world, subscription, change, params, behavior)
    return subscription


def _set_fields(world: World, subscription: Object, params: Params) -> None:
    """Change what costs nothing."""
    changes: Object = {"metadata": params.metadata(subscription["metadata"])}
    if method := params.text("default_payment_method"):
        changes["default_payment_method"] = resolve(world, method, "default_payment_method")["id"]
    if "cancellation_details" in params:
        answers = params.sub("cancellation_details")
        texts: Object = {name: answers.text(name) for name in ("comment", "feedback") if name in answers}
        changes["cancellation_details"] = subscription["cancellation_details"] | texts
    if (cancels := params.flag("cancel_at_period_end")) is not None:
        if subscription["schedule"]:
            message = (
                f"The subscription is managed by the subscription schedule `{subscription['schedule']}`, and updating "
                "any cancelation behavior directly is not allowed. Please update the schedule instead."
            )
            raise invalid(message)
        details: Object = subscription["cancellation_details"] | changes.get("cancellation_details", {})
        changes |= {
            "cancel_at_period_end": cancels,
            "cancel_at": item_of(subscription)["current_period_end"] if cancels else None,
            "canceled_at": (subscription["canceled_at"] or world.now) if cancels else None,
            "cancellation_details": details | {"reason": "cancellation_requested" if cancels else None},
        }
    world.change(subscription, "customer.subscription.updated", **changes)


def _carry_out(world: World, subscription: Object, change: Change, params: Params, behavior: str) -> None:
    invoices_now = change.at_once or params.text("proration_behavior") == "always_invoice"
    if not change.lines or not invoices_now:
        world.pending_lines.setdefault(subscription["id"], []).extend(change.lines)
        apply(world, subscription, change)
    elif behavior == "pending_if_incomplete":
        _when_paid(world, subscription, change)
    elif behavior == "error_if_incomplete":
        invoice = _when_paid(world, subscription, change)
        try:
            billing.refuse_unpaid(world, invoice)
        except StripeError:
            billing.void(world, invoice)
            raise
    else:
        apply(world, subscription, change)
        invoice = billing.bill(world, subscription, change.lines, "subscription_update")
        if invoice["status"] == "open" and behavior == "allow_incomplete":
            billing.collect(world, invoice, off_session=False)


def _when_paid(world: World, subscription: Object, change: Change) -> Object:
    """Charge for a change; while it isn't paid, it is a pending update, for 23 hours at most."""
    invoice = invoices.create(world, subscription, change.lines, "subscription_update")
    ends = (world.now + PENDING_SECONDS, item_of(subscription)["current_period_end"], subscription["trial_end"])
    expires = min(end for end in ends if end and end > world.now)

    def done() -> None:
        waited = subscription["pending_update"] is not None
        apply(world, subscription, change)
        if waited:
            world.emit("customer.subscription.pending_update_applied", subscription)

    def discard() -> None:
        if subscription["pending_update"] is not None:
            world.change(subscription, "customer.subscription.updated", pending_update=None)

    def expire() -> None:
        if invoice["status"] == "open" and invoice["id"] in world.pending_updates:
            world.emit("customer.subscription.pending_update_expired", subscription)
            billing.void(world, invoice)

    world.pending_updates[invoice["id"]] = PendingUpdate(apply=done, discard=discard)
    billing.finalize(world, invoice)
    if invoice["status"] == "open":
        billing.collect(world, invoice, off_session=False)
    if invoice["status"] == "open":
        item = item_of(subscription) | {"price": dict(change.price)}
        pending = {"billing_cycle_anchor": None, "expires_at": expires, "subscription_items": [item]}
        pending |= {"trial_end": change.trial_end if change.ends_trial else None, "trial_from_plan": None}
        world.change(subscription, "customer.subscription.updated", pending_update=pending)
        world.at(expires, expire)
    return invoice


def _discard_pending(world: World, subscription: Object) -> None:
    """Void the invoice of an update that still waits: the new one takes its place."""
    for id_ in list(world.pending_updates):
        invoice = world.objects[id_]
        if invoices.subscription_of(world, invoice) is subscription:
            billing.void(world, invoice)


def preview(world: World, call: Call) -> Object:
    """https://docs.stripe.com/api/invoices/create_preview: what a change, or the next renewal, would cost."""
    params = call.params
    id_ = params.text("subscription")
    if id_ is None:
        raise malformed("The stand-in previews changes of a subscription.", "subscription", "parameter_missing")
    subscription = world.referred("subscription", id_, "subscription")
    if subscription["status"] in billing.ENDED:
        raise invalid("No upcoming invoices for customer", code="invoice_upcoming_none")
    details = params.sub("subscription_details")
    change = plan(world, subscription, details, items=details)
    upcoming = world.new_id("upcoming_in")
    if change.at_once or details.text("proration_behavior") == "always_invoice":
        return invoices.draft(world, subscription, change.lines, "upcoming", id_=upcoming)
    if subscription["cancel_at_period_end"]:
        raise invalid("No upcoming invoices for customer", code="invoice_upcoming_none")
    start = item_of(subscription)["current_period_end"]
    interval = change.price["recurring"]["interval"]
    end = periods.end_of_period(subscription["billing_cycle_anchor"], interval, start)
    following = invoices.line(world, subscription, change.price, change.price["unit_amount"], (start, end))
    lines = [*map(dict, world.pending_lines.get(id_, [])), *change.lines, following]
    return invoices.draft(world, subscription, lines, "upcoming", id_=upcoming)


def resume(world: World, call: Call) -> Object:
    """https://docs.stripe.com/api/subscriptions/resume: a paused subscription begins a new period."""
    subscription = world.find("subscription", call.id)
    if subscription["status"] != "paused":
        raise invalid("You can only resume a subscription with the status paused.")
    price, now = price_of(subscription), world.now
    period = (now, periods.end_of_period(now, price["recurring"]["interval"], now))
    subscription["billing_cycle_anchor"] = now
    item_of(subscription).update(current_period_start=period[0], current_period_end=period[1])
    line = invoices.line(world, subscription, price, price["unit_amount"], period)
    subscription["status"] = "past_due"  # until it is paid
    invoice = billing.bill(world, subscription, [line], "subscription_update")
    if invoice["status"] == "open":
        billing.collect(world, invoice, off_session=False)
    watch_period(world, subscription)
    world.emit("customer.subscription.resumed", subscription)
    return subscription


CHANGE = "items.id items.price proration_behavior proration_date trial_end"
ROUTES = [
    Route(
        "POST",
        "/v1/subscriptions/{id}",
        update,
        f"{CHANGE} payment_behavior cancel_at_period_end default_payment_method metadata.* metadata "
        "cancellation_details.comment cancellation_details.feedback",
    ),
    Route("POST", "/v1/subscriptions/{id}/resume", resume),
    Route(
        "POST",
        "/v1/invoices/create_preview",
        preview,
        "customer subscription preview_mode " + " ".join(f"subscription_details.{name}" for name in CHANGE.split()),
    ),
]
