"""Subscriptions: created, renewed, ended (https://docs.stripe.com/billing/subscriptions/overview)."""

from tools.stripe_stand_in import billing, customers, invoices, periods
from tools.stripe_stand_in.api import LISTING, Call, Route, list_of, listing, matching, simple_get
from tools.stripe_stand_in.errors import StripeError, invalid, malformed, missing
from tools.stripe_stand_in.forms import Params
from tools.stripe_stand_in.world import DAY, HOUR, Object, World

INCOMPLETE_SECONDS = 23 * HOUR
TRIAL_NOTICE = 3 * DAY


def item_of(subscription: Object) -> Object:
    item: Object = subscription["items"]["data"][0]
    return item


def price_of(subscription: Object) -> Object:
    price: Object = item_of(subscription)["price"]
    return price


def create(world: World, call: Call) -> Object:
    """https://docs.stripe.com/api/subscriptions/create"""
    params = call.params
    customer = world.referred("customer", params.required("customer"), "customer")
    elements = params.each("items")
    if len(elements) != 1:
        raise malformed("The stand-in models subscriptions of one item.", "items", "parameter_missing")
    price = world.referred("price", elements[0].required("price"), elements[0].path("price"))
    method = params.text("default_payment_method")
    behavior = params.choice(
        "payment_behavior", "allow_incomplete default_incomplete error_if_incomplete", "allow_incomplete"
    )
    subscription = start(
        world,
        customer,
        price,
        trial_end=trial_end_of(world, params),
        payment_method=customers.resolve(world, method, "default_payment_method") if method else None,
        missing_payment_method=params.sub("trial_settings").sub("end_behavior").text("missing_payment_method"),
        metadata=params.metadata(),
        taxed=bool(params.sub("automatic_tax").flag("enabled")),
    )
    invoice = world.objects[subscription["latest_invoice"]]
    if invoice["status"] == "open" and behavior != "default_incomplete":
        billing.collect(world, invoice, off_session=params.flag("off_session") is True)
        if behavior == "error_if_incomplete":
            try:
                billing.refuse_unpaid(world, invoice)
            except StripeError:
                billing.end(world, subscription, reason="payment_failed", status="incomplete_expired")
                raise
    return subscription


def trial_end_of(world: World, params: Params) -> int | None:
    """Return the end of the trial that `trial_period_days` or `trial_end` asks for."""
    if days := params.integer("trial_period_days", least=1):
        return world.now + days * DAY
    end = None if params.text("trial_end") == "now" else params.integer("trial_end", least=1)
    if end is not None and end <= world.now:
        raise malformed("Invalid timestamp: must be an integer Unix timestamp in the future.", "trial_end")
    return end


def start(
    world: World,
    customer: Object,
    price: Object,
    *,
    trial_end: int | None,
    payment_method: Object | None,
    missing_payment_method: str | None = None,
    metadata: dict[str, str],
    taxed: bool = False,
) -> Object:
    """Make a subscription with its first invoice, which is open unless nothing is due."""
    if price["recurring"] is None:
        raise invalid("The price specified is set to `type=one_time` but this field only accepts `type=recurring`.")
    id_ = world.new_id("sub")
    now = world.now
    end = trial_end or periods.end_of_period(now, price["recurring"]["interval"], now)
    item = {
        "id": world.new_id("si", 14),
        "object": "subscription_item",
        "created": now,
        "current_period_start": now,
        "current_period_end": end,
        "discounts": [],
        "metadata": {},
        "price": dict(price),
        "quantity": 1,
        "subscription": id_,
        "tax_rates": [],
    }
    fields = {
        "automatic_tax": {"enabled": taxed, "disabled_reason": None, "liability": {"type": "self"} if taxed else None},
        "billing_cycle_anchor": trial_end or now,
        "billing_mode": {"type": "flexible", "flexible": {"proration_discounts": "included"}, "updated_at": now},
        "cancel_at": None,
        "cancel_at_period_end": False,
        "canceled_at": None,
        "cancellation_details": {"comment": None, "feedback": None, "reason": None},
        "collection_method": "charge_automatically",
        "currency": price["currency"],
        "customer": customer["id"],
        "days_until_due": None,
        "default_payment_method": payment_method and payment_method["id"],
        "description": None,
        "discounts": [],
        "ended_at": None,
        "items": list_of([item], f"/v1/subscription_items?subscription={id_}"),
        "latest_invoice": None,
        "metadata": metadata,
        "pause_collection": None,
        "pending_setup_intent": None,
        "pending_update": None,
        "schedule": None,
        "start_date": now,
        "status": "trialing" if trial_end else "incomplete",
        "test_clock": None,
        "trial_end": trial_end,
        "trial_settings": {"end_behavior": {"missing_payment_method": missing_payment_method or "create_invoice"}},
        "trial_start": now if trial_end else None,
    }
    subscription = world.new("subscription", id_, fields)
    world.emit("customer.subscription.created", subscription)
    amount = 0 if trial_end else price["unit_amount"]
    billing.bill(
        world, subscription, [invoices.line(world, subscription, price, amount, (now, end))], "subscription_create"
    )
    watch_period(world, subscription)
    world.at(now + INCOMPLETE_SECONDS, lambda: _expire(world, subscription))
    return subscription


def _expire(world: World, subscription: Object) -> None:
    if subscription["status"] == "incomplete":
        billing.end(world, subscription, reason="payment_failed", status="incomplete_expired")


def watch_period(world: World, subscription: Object) -> None:
    """Wait for the end of the current period, and tell of a trial's end three days before."""
    end = item_of(subscription)["current_period_end"]
    world.at(end, lambda: _period_ended(world, subscription, end))
    if subscription["status"] == "trialing":
        # https://docs.stripe.com/billing/subscriptions/trials: at once where the trial is shorter
        world.at(max(world.now, end - TRIAL_NOTICE), lambda: _tell_of_trial_end(world, subscription, end))


def _tell_of_trial_end(world: World, subscription: Object, end: int) -> None:
    if subscription["status"] == "trialing" and subscription["trial_end"] == end:
        world.emit("customer.subscription.trial_will_end", subscription)


def _period_ended(world: World, subscription: Object, end: int) -> None:
    if subscription["status"] in {*billing.ENDED, "incomplete", "paused"}:
        return
    if item_of(subscription)["current_period_end"] != end:
        return  # it was changed
    if subscription["cancel_at_period_end"]:
        billing.end(world, subscription, reason="cancellation_requested")
        return
    if subscription["status"] == "trialing" and _ends_without_method(world, subscription):
        return
    if change := world.at_period_end.pop(subscription["id"], None):
        change()
        if subscription["status"] in billing.ENDED:
            return
    renew(world, subscription)


def _ends_without_method(world: World, subscription: Object) -> bool:
    """https://docs.stripe.com/billing/subscriptions/trials/free-trials#create-free-trials-without-payment"""
    behavior = subscription["trial_settings"]["end_behavior"]["missing_payment_method"]
    customer = world.objects[subscription["customer"]]
    if behavior == "create_invoice" or customers.default_of(
        world, customer, chosen=subscription["default_payment_method"]
    ):
        return False
    if behavior == "cancel":
        billing.end(world, subscription, reason="payment_failed")
    else:
        world.change(subscription, "customer.subscription.paused", status="paused")
        world.emit("customer.subscription.updated", subscription, {"status": "trialing"})
    return True


def renew(world: World, subscription: Object) -> None:
    """Begin the next period: its invoice is a draft for an hour."""
    item, price = item_of(subscription), price_of(subscription)
    start_ = item["current_period_end"]
    end = periods.end_of_period(subscription["billing_cycle_anchor"], price["recurring"]["interval"], start_)
    move_period(world, subscription, (start_, end), ends_trial=subscription["status"] == "trialing")
    lines = world.pending_lines.pop(subscription["id"], [])
    lines.append(invoices.line(world, subscription, price, price["unit_amount"], (start_, end)))
    invoice = billing.bill_later(world, subscription, lines, "subscription_cycle")
    if subscription["status"] == "unpaid":  # invoices aren't collected any more
        invoice["auto_advance"] = False


def move_period(world: World, subscription: Object, period: tuple[int, int], *, ends_trial: bool = False) -> None:
    """Set the current period, tell of it, and wait for its end."""
    item = item_of(subscription)
    previous: Object = {
        "items": {
            "data": [
                {"current_period_start": item["current_period_start"], "current_period_end": item["current_period_end"]}
            ]
        }
    }
    item.update(current_period_start=period[0], current_period_end=period[1])
    if subscription["cancel_at_period_end"]:
        subscription["cancel_at"] = period[1]
    if ends_trial:
        previous["status"] = subscription["status"]
        subscription["status"] = "active"
    world.emit("customer.subscription.updated", subscription, previous)
    watch_period(world, subscription)


def cancel(world: World, call: Call) -> Object:
    """https://docs.stripe.com/api/subscriptions/cancel: now, without a refund."""
    subscription = world.find("subscription", call.id)
    if subscription["status"] in billing.ENDED:
        raise missing("subscription", call.id)
    details = call.params.sub("cancellation_details")
    subscription["cancellation_details"] |= {name: details.text(name) for name in ("comment", "feedback")}
    status = "incomplete_expired" if subscription["status"] == "incomplete" else "canceled"
    billing.end(world, subscription, reason="cancellation_requested", status=status)
    return subscription


def list_subscriptions(world: World, call: Call) -> Object:
    """https://docs.stripe.com/api/subscriptions/list: without `status`, all but canceled ones."""
    params = call.params
    status = params.text("status")
    things = matching(call, world.all("subscription"), "customer")
    if status == "ended":
        things = [each for each in things if each["status"] in billing.ENDED]
    elif status not in {None, "all"}:
        things = [each for each in things if each["status"] == status]
    elif status is None:
        things = [each for each in things if each["status"] != "canceled"]
    if price := params.text("price"):
        things = [each for each in things if price_of(each)["id"] == price]
    return listing(call, things, "/v1/subscriptions")


def delete_customer(world: World, call: Call) -> Object:
    """https://docs.stripe.com/api/customers/delete: cancels the subscriptions at once."""
    customer = world.find("customer", call.id)
    if customer.get("deleted"):
        raise missing("customer", call.id)
    for subscription in world.all("subscription", customer=call.id):
        if subscription["status"] not in billing.ENDED:
            billing.end(world, subscription, reason="cancellation_requested")
    world.emit("customer.deleted", customer)
    customer.clear()
    customer.update(id=call.id, object="customer", deleted=True)
    return customer


ROUTES = [
    Route(
        "POST",
        "/v1/subscriptions",
        create,
        "customer items.price trial_period_days trial_end default_payment_method payment_behavior off_session "
        "trial_settings.end_behavior.missing_payment_method automatic_tax.enabled metadata.* metadata",
    ),
    simple_get("subscription", "/v1/subscriptions"),
    Route("GET", "/v1/subscriptions", list_subscriptions, f"{LISTING} customer status price"),
    Route(
        "DELETE",
        "/v1/subscriptions/{id}",
        cancel,
        "cancellation_details.comment cancellation_details.feedback",
    ),
    Route("DELETE", "/v1/customers/{id}", delete_customer),
]
