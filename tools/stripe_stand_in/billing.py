"""Collects invoices: payment, retries, and what they do to the subscription.

https://docs.stripe.com/billing/subscriptions/overview#subscription-statuses,
https://docs.stripe.com/billing/revenue-recovery/smart-retries
"""

from tools.stripe_stand_in import customers, invoices, payments
from tools.stripe_stand_in.api import Call, Route
from tools.stripe_stand_in.errors import StripeError, card_error, invalid
from tools.stripe_stand_in.world import DAY, HOUR, Object, World

RETRIES = 8
RETRY_SECONDS = 14 * DAY // RETRIES
ENDED = {"canceled", "incomplete_expired"}


def bill(world: World, subscription: Object, lines: list[Object], reason: str) -> Object:
    """Create an invoice and finalize it now."""
    invoice = invoices.create(world, subscription, lines, reason)
    finalize(world, invoice)
    return invoice


def bill_later(world: World, subscription: Object, lines: list[Object], reason: str) -> Object:
    """Create a draft that is finalized and charged an hour later, as at a renewal."""
    invoice = invoices.create(world, subscription, lines, reason)
    invoice["automatically_finalizes_at"] = world.now + HOUR

    def finalize_and_charge() -> None:
        if invoice["status"] == "draft" and invoice["auto_advance"]:
            finalize(world, invoice)
            if invoice["status"] == "open":
                collect(world, invoice, off_session=True)

    world.at(world.now + HOUR, finalize_and_charge)
    return invoice


def finalize(world: World, invoice: Object) -> None:
    """Finalize an invoice; one with nothing due is paid by that."""
    invoices.finalize(world, invoice)
    if invoice["amount_due"] == 0:
        _paid(world, invoice)
        return
    intent = payments.new_intent(
        world,
        amount=invoice["amount_due"],
        currency=invoice["currency"],
        customer=invoice["customer"],
        settle=lambda intent: _settled(world, invoice, intent),
    )
    payment = {
        "id": world.new_id("inpay"),
        "object": "invoice_payment",
        "amount_paid": None,
        "amount_requested": invoice["amount_due"],
        "created": world.now,
        "currency": invoice["currency"],
        "invoice": invoice["id"],
        "is_default": True,
        "livemode": False,
        "payment": {"type": "payment_intent", "payment_intent": intent["id"]},
        "status": "open",
        "status_transitions": {"canceled_at": None, "paid_at": None},
    }
    world.add(payment)
    invoice["payments"]["data"].append(payment)
    invoice["confirmation_secret"] = {"client_secret": intent["client_secret"], "type": "payment_intent"}


def intent_of(world: World, invoice: Object) -> Object:
    return world.objects[invoice["payments"]["data"][0]["payment"]["payment_intent"]]


def collect(
    world: World,
    invoice: Object,
    *,
    off_session: bool,
    payment_method: Object | None = None,
    authenticated: bool = False,
) -> None:
    """Try to charge an open invoice."""
    chosen = payment_method or default_method(world, invoice)
    if chosen is None:
        _failed(world, invoice)
        return
    intent = intent_of(world, invoice)
    status = payments.confirm(world, intent, chosen, off_session=off_session, authenticated=authenticated)
    if status in {"requires_payment_method", "requires_action"}:
        _failed(world, invoice, asks=status == "requires_action")
    elif status == "processing":
        world.change(invoice, "invoice.updated", attempted=True, next_payment_attempt=None)


def default_method(world: World, invoice: Object) -> Object | None:
    subscription = invoices.subscription_of(world, invoice)
    customer = world.objects[invoice["customer"]]
    return customers.default_of(world, customer, chosen=subscription["default_payment_method"])


def _settled(world: World, invoice: Object, intent: Object) -> None:
    if intent["status"] == "succeeded":
        _paid(world, invoice)
    else:
        _failed(world, invoice)


def _paid(world: World, invoice: Object) -> None:
    if invoice["status"] not in {"open", "uncollectible"}:
        return
    due = invoice["amount_due"]
    for payment in invoice["payments"]["data"]:
        payment.update(status="paid", amount_paid=due, status_transitions={"canceled_at": None, "paid_at": world.now})
    fields = {"amount_paid": due, "amount_remaining": 0, "attempted": True, "next_payment_attempt": None}
    events = "invoice.paid invoice.payment_succeeded"
    invoices.move(world, invoice, "paid", time="paid_at", events=events, **fields)
    if update := world.pending_updates.pop(invoice["id"], None):
        update.apply()
    subscription = invoices.subscription_of(world, invoice)
    if (
        subscription["status"] in {"incomplete", "past_due", "unpaid"}
        and subscription["latest_invoice"] == invoice["id"]
    ):
        world.change(subscription, "customer.subscription.updated", status="active")


def _failed(world: World, invoice: Object, *, asks: bool = False) -> None:
    """Note a failed attempt, and plan the next one; after the last, end the subscription."""
    subscription = invoices.subscription_of(world, invoice)
    attempts = invoice["attempt_count"] + 1
    retried = subscription["status"] not in {"incomplete", *ENDED} and invoice["id"] not in world.pending_updates
    more = retried and attempts <= RETRIES and invoice["auto_advance"]
    next_attempt = world.now + RETRY_SECONDS if more else None
    world.change(invoice, None, attempt_count=attempts, attempted=True, next_payment_attempt=next_attempt)
    world.emit("invoice.payment_failed", invoice)
    if asks:
        world.emit("invoice.payment_action_required", invoice)
    if next_attempt:
        world.at(next_attempt, lambda: _retry(world, invoice, next_attempt))
    if retried and subscription["status"] in {"active", "trialing"}:
        world.change(subscription, "customer.subscription.updated", status="past_due")
    if retried and attempts > RETRIES:
        _give_up(world, subscription)


def _retry(world: World, invoice: Object, when: int) -> None:
    if invoice["status"] == "open" and invoice["auto_advance"] and invoice["next_payment_attempt"] == when:
        collect(world, invoice, off_session=True)


def _give_up(world: World, subscription: Object) -> None:
    if world.settings.after_retries == "unpaid":
        world.change(subscription, "customer.subscription.updated", status="unpaid")
    else:
        end(world, subscription, reason="payment_failed")


def end(world: World, subscription: Object, *, reason: str, status: str = "canceled") -> None:
    """Cancel a subscription now. Its open invoices stay open, and Stripe stops collecting them; a draft goes on
    (https://docs.stripe.com/api/subscriptions/cancel names the finalized ones alone).
    """
    for invoice in world.all("invoice"):
        if invoice["status"] in {"draft", "open"} and invoices.subscription_of(world, invoice) is subscription:
            if invoice["id"] in world.pending_updates or status == "incomplete_expired":
                void(world, invoice)
            elif invoice["status"] == "open":
                world.change(invoice, "invoice.updated", auto_advance=False, next_payment_attempt=None)
    if schedule := world.objects.get(subscription["schedule"] or ""):
        world.at_period_end.pop(subscription["id"], None)
        world.change(schedule, "subscription_schedule.canceled", status="canceled", canceled_at=world.now)
    details = subscription["cancellation_details"] | {"reason": reason}
    times = {"canceled_at": subscription["canceled_at"] or world.now, "ended_at": world.now}
    world.change(subscription, None, status=status, cancellation_details=details, schedule=None, **times)
    expired = status == "incomplete_expired"
    world.emit(f"customer.subscription.{'updated' if expired else 'deleted'}", subscription)


def void(world: World, invoice: Object) -> None:
    """https://docs.stripe.com/invoicing/overview#void: nothing is owed any more."""
    if invoice["status"] not in {"draft", "open", "uncollectible"}:
        raise invalid(f"You can only pass in open invoices. This invoice isn't open: {invoice['id']}")
    for payment in invoice["payments"]["data"]:
        payments.give_up(world, world.objects[payment["payment"]["payment_intent"]])
        payment.update(status="canceled", status_transitions={"canceled_at": world.now, "paid_at": None})
    fields = {"next_payment_attempt": None, "auto_advance": False}
    invoices.move(world, invoice, "void", time="voided_at", events="invoice.voided", **fields)
    if update := world.pending_updates.pop(invoice["id"], None):
        update.discard()


def pay(world: World, call: Call) -> Object:
    """https://docs.stripe.com/api/invoices/pay"""
    invoice = world.find("invoice", call.id)
    if invoice["status"] == "paid":
        raise invalid("Invoice is already paid", code="invoice_already_paid")
    if invoice["status"] == "draft":
        finalize(world, invoice)
    if invoice["status"] not in {"open", "uncollectible"}:
        if invoice["status"] == "paid":
            return invoice
        raise invalid(f"This invoice can no longer be paid: it is {invoice['status']}.", code="invoice_not_editable")
    id_ = call.params.text("payment_method")
    chosen = customers.resolve(world, id_, "payment_method") if id_ else default_method(world, invoice)
    if chosen is None:
        raise invalid("There is no default_payment_method set on this Customer or Invoice.", code="missing")
    off_session = call.params.flag("off_session") is not False
    collect(world, invoice, payment_method=chosen, off_session=off_session)
    refuse_unpaid(world, invoice)
    return invoice


def refuse_unpaid(world: World, invoice: Object) -> None:
    """Raise what a failed payment answers."""
    if invoice["status"] == "paid" or intent_of(world, invoice)["status"] == "processing":
        return
    intent = intent_of(world, invoice)
    if intent["status"] == "requires_action":
        message = "This payment requires additional user action before it can be completed successfully."
        raise StripeError(402, "card_error", message, code="invoice_payment_intent_requires_action")
    raise card_error(intent)


def finalize_now(world: World, call: Call) -> Object:
    """https://docs.stripe.com/api/invoices/finalize"""
    invoice = world.find("invoice", call.id)
    if (advances := call.params.flag("auto_advance")) is not None:
        invoice["auto_advance"] = advances
    finalize(world, invoice)
    return invoice


def void_now(world: World, call: Call) -> Object:
    invoice = world.find("invoice", call.id)
    if invoice["status"] == "draft":
        raise invalid("You can only void finalized invoices.", code="invoice_not_editable")
    void(world, invoice)
    return invoice


def mark_uncollectible(world: World, call: Call) -> Object:
    invoice = world.find("invoice", call.id)
    if invoice["status"] != "open":
        raise invalid("You can only mark open invoices as uncollectible.", code="invoice_not_editable")
    events = "invoice.marked_uncollectible"
    invoices.move(world, invoice, "uncollectible", time="marked_uncollectible_at", events=events)
    return invoice


ROUTES = [
    Route("POST", "/v1/invoices/{id}/pay", pay, "payment_method off_session"),
    Route("POST", "/v1/invoices/{id}/finalize", finalize_now, "auto_advance"),
    Route("POST", "/v1/invoices/{id}/void", void_now),
    Route("POST", "/v1/invoices/{id}/mark_uncollectible", mark_uncollectible),
]
