"""Subscriptions: trial, renewal, failed payments and retries, the end."""

from datetime import UTC, datetime
from typing import Any

import pytest
import stripe

from tools.stripe_stand_in import periods
from tools.stripe_stand_in.server import CommandError
from tools.stripe_stand_in.tests.shop import MONTH, Shop

pytestmark = pytest.mark.timeout(60)
DAY = 86_400


def at(year: int, month: int, day: int, hour: int = 0) -> int:
    return int(datetime(year, month, day, hour, tzinfo=UTC).timestamp())


def period(subscription: Any) -> tuple[int, int]:
    item = subscription["items"].data[0]
    return item.current_period_start, item.current_period_end


def until_end(shop: Shop, subscription: Any, *, seconds: int = 0) -> None:
    """Move the clock to the end of the current period, and some seconds on."""
    shop.stand_in.advance(seconds=period(shop.subscription(subscription.id))[1] - shop.stand_in.now + seconds)


def renewed(shop: Shop, *, card: str) -> Any:
    """Return a subscription whose first renewal was charged to a card."""
    subscription = shop.subscribe()
    shop.stand_in.do("set_card", customer=subscription.customer, card=card)
    until_end(shop, subscription, seconds=3600)
    return subscription


@pytest.mark.parametrize(
    ("anchor", "interval", "start", "end"),
    [
        (at(2026, 1, 31), "month", at(2026, 1, 31), at(2026, 2, 28)),
        (at(2026, 1, 31), "month", at(2026, 2, 28), at(2026, 3, 31)),
        (at(2024, 2, 29), "year", at(2024, 2, 29), at(2025, 2, 28)),
        (at(2024, 2, 29), "year", at(2027, 2, 28), at(2028, 2, 29)),
        (at(2026, 12, 15, 8), "month", at(2026, 12, 15, 8), at(2027, 1, 15, 8)),
        (at(2026, 1, 1), "week", at(2026, 1, 1), at(2026, 1, 8)),
    ],
)
def test_period_ends_on_the_anchors_day(anchor: int, interval: str, start: int, end: int) -> None:
    assert periods.end_of_period(anchor, interval, start) == end


def test_proration_is_rounded_half_up() -> None:
    assert [periods.prorated(amount, left=1, whole=2) for amount in (1, 2, 3)] == [1, 1, 2]
    assert periods.prorated(2900, left=0, whole=2_592_000) == 0


def test_subscription_begins_with_a_paid_invoice(shop: Shop) -> None:
    subscription = shop.subscribe(metadata={"audifi_id": "s1"})
    after = shop.subscription(subscription.id)
    invoice = after.latest_invoice

    assert after.status == "active"
    assert period(after) == (
        subscription.created,
        periods.end_of_period(subscription.created, "month", subscription.created),
    )
    assert (invoice.status, invoice.billing_reason, invoice.amount_paid) == ("paid", "subscription_create", MONTH)
    assert invoice.parent.subscription_details.subscription == subscription.id
    assert invoice.parent.subscription_details.metadata.audifi_id == "s1"
    assert invoice.lines.data[0].pricing.price_details.price == shop.prices["pro_month_usd"]
    assert invoice.number.endswith("-0001")
    expected = (
        "customer.subscription.created invoice.created invoice.finalized payment_intent.created charge.succeeded "
    )
    expected += "payment_intent.succeeded invoice.paid invoice.payment_succeeded customer.subscription.updated"
    assert [kind for kind in shop.events() if not kind.startswith("customer.updated")][-9:] == expected.split()


def test_declined_subscription_expires_after_23_hours(shop: Shop) -> None:
    subscription = shop.subscribe(card="pm_card_chargeCustomerFail")
    assert subscription.status == "incomplete"
    shop.stand_in.advance(hours=22.9)
    assert shop.subscription(subscription.id).status == "incomplete"

    shop.stand_in.advance(hours=0.1)
    after = shop.subscription(subscription.id)
    assert (after.status, after.latest_invoice.status) == ("incomplete_expired", "void")


def test_incomplete_subscription_becomes_active(shop: Shop) -> None:
    subscription = shop.subscribe(payment_behavior="default_incomplete")
    assert subscription.status == "incomplete"
    shop.v1.invoices.pay(subscription.latest_invoice)

    assert shop.subscription(subscription.id).status == "active"


def test_declined_subscription_can_be_an_error(shop: Shop) -> None:
    shop.use_empty_account()
    with pytest.raises(stripe.CardError) as refusal:
        shop.subscribe(card="pm_card_chargeCustomerFail", payment_behavior="error_if_incomplete")

    assert refusal.value.code == "card_declined"
    assert [each.status for each in shop.v1.subscriptions.list({"status": "ended"}).data] == ["incomplete_expired"]


@pytest.mark.parametrize("params", [{"items": []}, {"trial_end": 1}, {"trial_period_days": 0}])
def test_wrong_subscription_is_refused(shop: Shop, params: dict[str, Any]) -> None:
    customer = shop.customer("pm_card_visa")
    items = [{"price": shop.prices["pro_month_usd"]}]
    with pytest.raises(stripe.InvalidRequestError):
        shop.v1.subscriptions.create({"customer": customer.id, "items": items} | params)


def test_one_time_price_isnt_subscribed(shop: Shop) -> None:
    product = shop.v1.products.create({"name": "Once"})
    price = shop.v1.prices.create({"product": product.id, "currency": "usd", "unit_amount": 100})
    shop.prices["once"] = price.id
    with pytest.raises(stripe.InvalidRequestError, match="type=recurring"):
        shop.subscribe("once")


def test_renewal_is_charged_an_hour_later(shop: Shop) -> None:
    subscription = shop.subscribe()
    first_end = period(subscription)[1]
    until_end(shop, subscription)
    after = shop.subscription(subscription.id)
    assert (after.status, after.latest_invoice.status) == ("active", "draft")
    assert after.latest_invoice.automatically_finalizes_at == first_end + 3600
    assert period(after) == (first_end, periods.end_of_period(subscription.billing_cycle_anchor, "month", first_end))

    shop.stand_in.advance(hours=1)
    invoice = shop.subscription(subscription.id).latest_invoice
    assert (invoice.status, invoice.billing_reason, invoice.amount_paid) == ("paid", "subscription_cycle", MONTH)
    assert (invoice.period_start, invoice.period_end) == period(after)


def test_clock_runs_through_many_renewals(shop: Shop) -> None:
    subscription = shop.subscribe()
    shop.stand_in.advance(days=366)

    invoices = shop.v1.invoices.list({"subscription": subscription.id, "status": "paid", "limit": 100}).data
    assert len(invoices) == 13
    assert len({invoice.number for invoice in invoices}) == 13


def test_failed_renewal_is_retried_8_times(shop: Shop) -> None:
    subscription = renewed(shop, card="pm_card_chargeCustomerFail")
    failed = shop.subscription(subscription.id)
    assert (failed.status, failed.latest_invoice.status, failed.latest_invoice.attempt_count) == ("past_due", "open", 1)
    assert failed.latest_invoice.next_payment_attempt > shop.stand_in.now

    shop.stand_in.advance(days=13.9)
    assert shop.subscription(subscription.id).status == "past_due"
    shop.stand_in.advance(days=0.1)
    ended = shop.subscription(subscription.id)
    assert (ended.status, ended.ended_at) == ("canceled", shop.stand_in.now)
    assert ended.cancellation_details.reason == "payment_failed"
    assert (ended.latest_invoice.status, ended.latest_invoice.attempt_count) == ("open", 9)
    assert not ended.latest_invoice.auto_advance
    assert shop.events().count("invoice.payment_failed") == 9


def test_subscription_can_stay_unpaid(shop: Shop) -> None:
    shop.stand_in.do("settings", after_retries="unpaid")
    subscription = shop.subscribe()
    shop.stand_in.do("set_card", customer=subscription.customer, card="pm_card_chargeCustomerFail")
    until_end(shop, subscription, seconds=3600 + 14 * DAY)
    assert shop.subscription(subscription.id).status == "unpaid"
    until_end(shop, subscription, seconds=3600)
    unpaid = shop.subscription(subscription.id)
    assert (unpaid.status, unpaid.latest_invoice.status) == ("unpaid", "draft")

    shop.v1.invoices.pay(unpaid.latest_invoice.id, {"payment_method": "pm_card_visa"})
    assert shop.subscription(subscription.id).status == "active"


def test_paying_ends_the_retries(shop: Shop) -> None:
    subscription = renewed(shop, card="pm_card_chargeCustomerFail")
    invoice = shop.subscription(subscription.id).latest_invoice
    with pytest.raises(CommandError):
        shop.stand_in.do("pay_invoice", invoice=invoice.id, card="pm_unknown")
    shop.stand_in.do("pay_invoice", invoice=invoice.id)
    assert shop.subscription(subscription.id).status == "active"

    shop.stand_in.advance(days=14)
    assert shop.v1.invoices.retrieve(invoice.id).attempt_count == 1
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        shop.v1.invoices.pay(invoice.id)
    assert refusal.value.code == "invoice_already_paid"


def test_retry_succeeds_with_a_new_card(shop: Shop) -> None:
    subscription = renewed(shop, card="pm_card_chargeCustomerFail")
    shop.stand_in.do("set_card", customer=subscription.customer, card="pm_card_mastercard")
    shop.stand_in.advance(days=2)

    assert shop.subscription(subscription.id).status == "active"


def test_renewal_that_asks_for_authentication_fails(shop: Shop) -> None:
    subscription = renewed(shop, card="pm_card_authenticationRequired")
    invoice = shop.subscription(subscription.id).latest_invoice
    with pytest.raises(stripe.CardError) as refusal:
        shop.v1.invoices.pay(invoice.id, {"off_session": False})
    assert refusal.value.code == "invoice_payment_intent_requires_action"
    assert "invoice.payment_action_required" in shop.events()

    card = {"card": "pm_card_authenticationRequired", "authenticated": True}
    assert shop.stand_in.do("pay_invoice", invoice=invoice.id, **card)["status"] == "paid"


@pytest.mark.parametrize(("card", "status"), [("pm_sepa_succeeds", "active"), ("pm_sepa_fails", "past_due")])
def test_renewal_by_debit_ends_days_later(shop: Shop, card: str, status: str) -> None:
    subscription = shop.subscribe()
    method = shop.v1.payment_methods.attach(card, {"customer": subscription.customer})
    shop.v1.subscriptions.update(subscription.id, {"default_payment_method": method.id})
    until_end(shop, subscription, seconds=3600)
    waiting = shop.subscription(subscription.id)
    assert (waiting.status, waiting.latest_invoice.status, waiting.latest_invoice.attempted) == ("active", "open", True)

    shop.stand_in.advance(days=5)
    ended = shop.subscription(subscription.id)
    assert (ended.status, ended.latest_invoice.status) == (status, "paid" if status == "active" else "open")


def test_invoice_without_a_card_isnt_paid(shop: Shop) -> None:
    subscription = shop.v1.subscriptions.create(
        {"customer": shop.customer().id, "items": [{"price": shop.prices["pro_month_usd"]}]}
    )
    assert shop.v1.invoices.retrieve(subscription.latest_invoice).attempted
    with pytest.raises(stripe.InvalidRequestError, match="no default_payment_method"):
        shop.v1.invoices.pay(subscription.latest_invoice)
    with pytest.raises(stripe.CardError):
        shop.v1.invoices.pay(subscription.latest_invoice, {"payment_method": "pm_card_visa_chargeDeclined"})


def test_open_invoice_is_voided(shop: Shop) -> None:
    subscription = shop.subscribe(payment_behavior="default_incomplete")
    voided = shop.v1.invoices.void_invoice(subscription.latest_invoice, {"expand": ["payments"]})
    assert (voided.status, voided.payments.data[0].status) == ("void", "canceled")
    assert voided.status_transitions.voided_at == shop.stand_in.now

    for call in (shop.v1.invoices.void_invoice, shop.v1.invoices.pay, shop.v1.invoices.finalize_invoice):
        with pytest.raises(stripe.InvalidRequestError):
            call(voided.id)
    with pytest.raises(stripe.InvalidRequestError):
        shop.v1.invoices.delete(voided.id)


def test_uncollectible_invoice_can_still_be_paid(shop: Shop) -> None:
    subscription = shop.subscribe(payment_behavior="default_incomplete")
    marked = shop.v1.invoices.mark_uncollectible(subscription.latest_invoice)
    assert marked.status == "uncollectible"
    with pytest.raises(stripe.InvalidRequestError):
        shop.v1.invoices.mark_uncollectible(marked.id)

    assert shop.v1.invoices.pay(marked.id).status == "paid"


def test_draft_is_finalized_or_paid_on_request(shop: Shop) -> None:
    subscription = shop.subscribe()
    until_end(shop, subscription)
    draft = shop.subscription(subscription.id).latest_invoice.id
    with pytest.raises(stripe.InvalidRequestError, match="void finalized"):
        shop.v1.invoices.void_invoice(draft)
    assert shop.v1.invoices.finalize_invoice(draft).status == "open"
    assert shop.v1.invoices.pay(draft).status == "paid"

    until_end(shop, subscription)
    assert shop.v1.invoices.pay(shop.subscription(subscription.id).latest_invoice.id).status == "paid"


def test_draft_of_an_ended_subscription_is_charged(shop: Shop) -> None:
    subscription = shop.subscribe()
    until_end(shop, subscription)
    shop.v1.subscriptions.cancel(subscription.id)

    shop.stand_in.advance(hours=1)
    assert shop.subscription(subscription.id).latest_invoice.status == "paid"


def test_draft_finalized_by_hand_is_not_charged(shop: Shop) -> None:
    subscription = shop.subscribe()
    until_end(shop, subscription)
    draft = shop.subscription(subscription.id).latest_invoice.id

    assert shop.v1.invoices.finalize_invoice(draft, {"auto_advance": False}).status == "open"
    shop.stand_in.advance(hours=1)
    assert shop.v1.invoices.retrieve(draft).status == "open"
    assert shop.v1.invoices.void_invoice(draft).status == "void"


def test_payment_leads_to_its_invoice(shop: Shop) -> None:
    subscription = shop.subscribe()
    payment = shop.v1.invoice_payments.list({"invoice": subscription.latest_invoice}).data[0]
    assert (payment.status, payment.amount_paid) == ("paid", MONTH)

    by_intent = {"payment": {"type": "payment_intent", "payment_intent": payment.payment.payment_intent}}
    assert [each.invoice for each in shop.v1.invoice_payments.list(by_intent).data] == [subscription.latest_invoice]


def test_tax_is_added(shop: Shop) -> None:
    shop.stand_in.do("settings", tax_percent=20)
    invoice = shop.subscription(shop.subscribe(automatic_tax={"enabled": True}).id).latest_invoice

    assert (invoice.subtotal, invoice.total, invoice.amount_paid) == (MONTH, 3480, 3480)
    assert [each.amount for each in invoice.total_taxes] == [580]
    with pytest.raises(CommandError, match="tax"):
        shop.stand_in.do("settings", tax=1)


def test_trial_ends_with_a_charge(shop: Shop) -> None:
    subscription = shop.subscribe(trial_period_days=14)
    trial_end = subscription.created + 14 * DAY
    first = shop.subscription(subscription.id)
    assert (first.status, first.trial_end, period(first)[1]) == ("trialing", trial_end, trial_end)
    assert (first.latest_invoice.status, first.latest_invoice.total) == ("paid", 0)
    shop.stand_in.advance(days=10.9)
    assert "customer.subscription.trial_will_end" not in shop.events()

    shop.stand_in.advance(days=0.1)
    assert shop.events()[-1] == "customer.subscription.trial_will_end"
    shop.stand_in.advance(days=3)
    assert shop.subscription(subscription.id).status == "active"
    shop.stand_in.advance(hours=1)
    after = shop.subscription(subscription.id)
    assert (after.latest_invoice.status, after.latest_invoice.amount_paid) == ("paid", MONTH)
    assert after.billing_cycle_anchor == trial_end


def test_declined_charge_after_the_trial_is_past_due(shop: Shop) -> None:
    subscription = shop.subscribe(card="pm_card_chargeCustomerFail", trial_end=shop.stand_in.now + 2 * DAY)
    shop.stand_in.advance(seconds=1)
    assert shop.events().count("customer.subscription.trial_will_end") == 1  # at once: fewer than three days are left

    shop.stand_in.advance(days=3)
    assert shop.subscription(subscription.id).status == "past_due"


@pytest.mark.parametrize(
    ("behavior", "status"), [("cancel", "canceled"), ("pause", "paused"), ("create_invoice", "past_due")]
)
def test_trial_ends_without_a_card(shop: Shop, behavior: str, status: str) -> None:
    params = {
        "customer": shop.customer().id,
        "items": [{"price": shop.prices["pro_month_usd"]}],
        "trial_period_days": 7,
        "trial_settings": {"end_behavior": {"missing_payment_method": behavior}},
    }
    subscription = shop.v1.subscriptions.create(params)
    shop.stand_in.advance(days=7, hours=1)

    assert shop.subscription(subscription.id).status == status


def test_paused_subscription_is_resumed(shop: Shop) -> None:
    settings = {"end_behavior": {"missing_payment_method": "pause"}}
    params = {"customer": shop.customer().id, "items": [{"price": shop.prices["pro_month_usd"]}]}
    subscription = shop.v1.subscriptions.create(params | {"trial_period_days": 7, "trial_settings": settings})
    shop.stand_in.advance(days=40)
    assert "customer.subscription.paused" in shop.events()
    shop.stand_in.do("set_card", customer=subscription.customer, card="pm_card_visa")

    resumed = shop.v1.subscriptions.resume(subscription.id)
    assert (resumed.status, period(resumed)[0]) == ("active", shop.stand_in.now)
    with pytest.raises(stripe.InvalidRequestError):
        shop.v1.subscriptions.resume(subscription.id)


def test_subscription_is_canceled_at_period_end(shop: Shop) -> None:
    subscription = shop.subscribe()
    canceling = shop.v1.subscriptions.update(
        subscription.id, {"cancel_at_period_end": True, "cancellation_details": {"feedback": "too_expensive"}}
    )
    assert (canceling.status, canceling.cancel_at) == ("active", period(subscription)[1])
    assert canceling.cancellation_details.to_dict() == {
        "comment": None,
        "feedback": "too_expensive",
        "reason": "cancellation_requested",
    }
    until_end(shop, subscription)

    ended = shop.subscription(subscription.id)
    assert (ended.status, ended.ended_at) == ("canceled", shop.stand_in.now)
    assert ended.latest_invoice.id == subscription.latest_invoice
    assert shop.events()[-1] == "customer.subscription.deleted"


def test_subscription_is_reactivated(shop: Shop) -> None:
    subscription = shop.subscribe()
    shop.v1.subscriptions.update(subscription.id, {"cancel_at_period_end": True})
    kept = shop.v1.subscriptions.update(subscription.id, {"cancel_at_period_end": False})
    assert (kept.cancel_at, kept.canceled_at) == (None, None)

    until_end(shop, subscription)
    assert shop.subscription(subscription.id).status == "active"


def test_subscription_is_canceled_now(shop: Shop) -> None:
    subscription = renewed(shop, card="pm_card_chargeCustomerFail")
    shop.v1.subscriptions.cancel(subscription.id, {"cancellation_details": {"comment": "bye"}})
    shop.stand_in.advance(days=30)

    ended = shop.subscription(subscription.id)
    assert (ended.status, ended.cancellation_details.comment) == ("canceled", "bye")
    assert (ended.latest_invoice.status, ended.latest_invoice.attempt_count) == ("open", 1)
    with pytest.raises(stripe.InvalidRequestError):
        shop.v1.subscriptions.cancel(subscription.id)
    with pytest.raises(stripe.InvalidRequestError, match="canceled subscription can only"):
        shop.v1.subscriptions.update(subscription.id, {"cancel_at_period_end": True})
    assert shop.v1.subscriptions.update(subscription.id, {"metadata": {"a": "1"}}).metadata.a == "1"


def test_incomplete_subscription_is_canceled(shop: Shop) -> None:
    subscription = shop.subscribe(payment_behavior="default_incomplete")

    assert shop.v1.subscriptions.cancel(subscription.id).status == "incomplete_expired"


def test_subscriptions_are_listed_by_status(shop: Shop) -> None:
    shop.use_empty_account()
    ended, live = shop.subscribe(), shop.subscribe("pro_year_usd")
    shop.v1.subscriptions.cancel(ended.id)

    def listed(**params: Any) -> set[str]:
        return {each.id for each in shop.v1.subscriptions.list(params).data}

    assert listed() == listed(status="active") == listed(price=shop.prices["pro_year_usd"]) == {live.id}
    assert listed(status="canceled") == {ended.id}
    assert listed(status="all") == {live.id, ended.id}
    assert listed(customer=live.customer) == {live.id}


def test_checkout_makes_a_subscription(shop: Shop) -> None:
    customer = shop.customer()
    session = shop.checkout(
        mode="subscription",
        customer=customer.id,
        line_items=[{"price": shop.prices["pro_month_usd"]}],
        subscription_data={"metadata": {"audifi_id": "s1"}},
    )
    for card in ("pm_card_visa_chargeDeclined", "pm_card_chargeCustomerFail", "pm_card_authenticationRequired"):
        assert shop.pay(session, card)["status"] == "open"
    assert shop.v1.subscriptions.list({"status": "all"}).data == []

    paid = shop.pay(session, "pm_card_authenticationRequired", authenticated=True)
    assert (paid["status"], paid["payment_status"]) == ("complete", "paid")
    subscription = shop.subscription(paid["subscription"])
    assert (subscription.status, subscription.metadata.audifi_id) == ("active", "s1")
    assert subscription.latest_invoice.id == paid["invoice"]
    assert shop.events()[-1] == "checkout.session.completed"


def test_checkout_begins_a_trial(shop: Shop) -> None:
    session = shop.checkout(
        mode="subscription",
        line_items=[{"price": shop.prices["pro_month_usd"]}],
        subscription_data={"trial_period_days": 14},
    )
    assert session.amount_total == 0
    paid = shop.pay(session, "pm_card_chargeCustomerFail")

    assert paid["payment_status"] == "no_payment_required"
    subscription = shop.v1.subscriptions.retrieve(paid["subscription"], {"expand": ["default_payment_method"]})
    assert subscription.status == "trialing"
    assert subscription.default_payment_method.card.fingerprint
    assert subscription.default_payment_method.customer == paid["customer"]


def test_payment_method_is_attached_and_detached(shop: Shop) -> None:
    customer = shop.customer()
    method = shop.v1.payment_methods.attach("pm_card_visa", {"customer": customer.id})
    settings = {"invoice_settings": {"default_payment_method": method.id}}
    assert shop.v1.customers.update(customer.id, settings).invoice_settings.default_payment_method == method.id
    assert [each.id for each in shop.v1.customers.payment_methods.list(customer.id).data] == [method.id]
    with pytest.raises(stripe.InvalidRequestError):
        shop.v1.customers.update(shop.customer().id, settings)

    assert shop.v1.payment_methods.detach(method.id).customer is None
    with pytest.raises(stripe.InvalidRequestError):
        shop.v1.payment_methods.detach(method.id)
    assert shop.v1.payment_methods.attach(method.id, {"customer": customer.id}).customer == customer.id
