"""Changes of a subscription: upgrades with proration, updates that wait for payment, downgrades by a schedule."""

from typing import Any

import pytest
import stripe

from tools.stripe_stand_in.tests.shop import ENTERPRISE, MONTH, YEAR, Shop

pytestmark = pytest.mark.timeout(60)
UPGRADE = {"proration_behavior": "always_invoice", "payment_behavior": "pending_if_incomplete"}


def period(subscription: Any) -> tuple[int, int]:
    item = subscription["items"].data[0]
    return item.current_period_start, item.current_period_end


def price(subscription: Any) -> str:
    return str(subscription["items"].data[0].price.lookup_key)


def lines(invoice: Any) -> list[int]:
    return [line.amount for line in invoice.lines.data]


def half_way(shop: Shop, subscription: Any) -> None:
    start, end = period(subscription)
    shop.stand_in.advance(seconds=(end - start) // 2)


def preview(shop: Shop, subscription: Any, to: str | None = None, **details: Any) -> Any:
    if to:
        details["items"] = [{"id": subscription["items"].data[0].id, "price": shop.prices[to]}]
    return shop.v1.invoices.create_preview({"subscription": subscription.id, "subscription_details": details})


def test_upgrade_is_prorated_to_the_second(shop: Shop) -> None:
    subscription = shop.subscribe()
    start, end = period(subscription)
    shop.stand_in.advance(seconds=1_000_001)
    left, whole = end - shop.stand_in.now, end - start

    changed = shop.change(subscription, "enterprise_month_usd", **UPGRADE, expand=["latest_invoice"])
    expected = [-((2 * MONTH * left + whole) // (2 * whole)), (2 * ENTERPRISE * left + whole) // (2 * whole)]
    assert lines(changed.latest_invoice) == expected
    assert (changed.latest_invoice.status, changed.latest_invoice.amount_paid) == ("paid", sum(expected))
    assert changed.latest_invoice.billing_reason == "subscription_update"
    assert all(line.parent.subscription_item_details.proration for line in changed.latest_invoice.lines.data)
    assert (price(changed), period(changed), changed.pending_update) == ("enterprise_month_usd", (start, end), None)


def test_preview_equals_the_invoice(shop: Shop) -> None:
    subscription = shop.subscribe()
    shop.stand_in.advance(days=9)
    at = shop.stand_in.now
    seen = preview(shop, subscription, "enterprise_month_usd", proration_behavior="always_invoice", proration_date=at)
    assert not shop.v1.invoices.list({"status": "draft"}).data
    shop.stand_in.advance(seconds=500)

    changed = shop.change(subscription, "enterprise_month_usd", **UPGRADE, proration_date=at, expand=["latest_invoice"])
    assert lines(changed.latest_invoice) == lines(seen)
    assert changed.latest_invoice.amount_paid == seen.amount_due


def test_month_becomes_year_from_now(shop: Shop) -> None:
    subscription = shop.subscribe()
    half_way(shop, subscription)
    changed = shop.change(subscription, "pro_year_usd", **UPGRADE, expand=["latest_invoice"])

    assert lines(changed.latest_invoice) == [-MONTH // 2, YEAR]
    assert period(changed)[0] == changed.billing_cycle_anchor == shop.stand_in.now
    assert period(changed)[1] - period(changed)[0] == 365 * 86_400


def test_year_within_the_trial_costs_nothing(shop: Shop) -> None:
    subscription = shop.subscribe(trial_period_days=14)
    shop.stand_in.advance(days=3)
    changed = shop.change(subscription, "pro_year_usd", **UPGRADE, expand=["latest_invoice"])
    assert (changed.status, changed.trial_end, price(changed)) == ("trialing", subscription.trial_end, "pro_year_usd")
    assert changed.latest_invoice.total == 0

    shop.stand_in.advance(days=11, hours=1)
    assert shop.subscription(subscription.id).latest_invoice.amount_paid == YEAR


@pytest.mark.parametrize("card", ["pm_card_visa", "pm_card_chargeCustomerFail"])
def test_upgrade_ends_the_trial_if_paid(shop: Shop, card: str) -> None:
    subscription = shop.subscribe(card=card, trial_period_days=14)
    shop.stand_in.advance(days=3)
    changed = shop.change(subscription, "enterprise_month_usd", **UPGRADE, trial_end="now", expand=["latest_invoice"])

    assert lines(changed.latest_invoice) == [ENTERPRISE]
    if card == "pm_card_visa":
        assert (changed.status, price(changed), period(changed)[0]) == (
            "active",
            "enterprise_month_usd",
            shop.stand_in.now,
        )
    else:
        assert (changed.status, price(changed)) == ("trialing", "pro_month_usd")
        assert changed.pending_update.trial_end == shop.stand_in.now


def test_trial_end_can_be_moved(shop: Shop) -> None:
    subscription = shop.subscribe(trial_period_days=14)
    until = shop.stand_in.now + 30 * 86_400
    moved = shop.v1.subscriptions.update(subscription.id, {"trial_end": until})
    assert (moved.status, moved.trial_end, period(moved)[1], moved.billing_cycle_anchor) == (
        "trialing",
        until,
        until,
        until,
    )

    shop.stand_in.advance(days=29)
    assert shop.subscription(subscription.id).status == "trialing"
    with pytest.raises(stripe.InvalidRequestError, match="running trial"):
        shop.v1.subscriptions.update(subscription.id, {"trial_end": 1})


def test_declined_upgrade_is_pending_for_23_hours(shop: Shop) -> None:
    subscription = shop.subscribe()
    shop.stand_in.do("set_card", customer=subscription.customer, card="pm_card_chargeCustomerFail")
    shop.stand_in.advance(days=9)
    changed = shop.change(subscription, "enterprise_month_usd", **UPGRADE, expand=["latest_invoice"])
    assert (changed.status, price(changed), changed.latest_invoice.status) == ("active", "pro_month_usd", "open")
    pending = changed.pending_update
    assert pending.expires_at == shop.stand_in.now + 23 * 3600
    assert pending.subscription_items[0].price.id == shop.prices["enterprise_month_usd"]
    assert changed.latest_invoice.next_payment_attempt is None
    shop.stand_in.advance(hours=22.9)
    assert shop.subscription(subscription.id).pending_update

    shop.stand_in.advance(hours=0.1)
    after = shop.subscription(subscription.id)
    assert (after.pending_update, after.latest_invoice.status, price(after)) == (None, "void", "pro_month_usd")
    assert "customer.subscription.pending_update_expired" in shop.events()


def test_pending_upgrade_ends_with_the_period(shop: Shop) -> None:
    subscription = shop.subscribe()
    shop.stand_in.do("set_card", customer=subscription.customer, card="pm_card_chargeCustomerFail")
    end = period(subscription)[1]
    shop.stand_in.advance(seconds=end - shop.stand_in.now - 3600)

    assert shop.change(subscription, "enterprise_month_usd", **UPGRADE).pending_update.expires_at == end


@pytest.mark.parametrize("card", ["pm_card_chargeCustomerFail", "pm_card_authenticationRequired"])
def test_pending_upgrade_applies_when_paid(shop: Shop, card: str) -> None:
    subscription = shop.subscribe()
    shop.stand_in.do("set_card", customer=subscription.customer, card=card)
    changed = shop.change(subscription, "enterprise_month_usd", **UPGRADE)
    assert changed.pending_update
    shop.stand_in.do("pay_invoice", invoice=changed.latest_invoice)

    after = shop.subscription(subscription.id)
    assert (price(after), after.pending_update, after.latest_invoice.status) == ("enterprise_month_usd", None, "paid")
    assert "customer.subscription.pending_update_applied" in shop.events()
    shop.stand_in.advance(hours=24)
    assert price(shop.subscription(subscription.id)) == "enterprise_month_usd"


@pytest.mark.parametrize("voided_by", ["void", "change", "cancel"])
def test_pending_upgrade_is_given_up(shop: Shop, voided_by: str) -> None:
    subscription = shop.subscribe()
    shop.stand_in.do("set_card", customer=subscription.customer, card="pm_card_chargeCustomerFail")
    changed = shop.change(subscription, "enterprise_month_usd", **UPGRADE)
    if voided_by == "void":
        shop.v1.invoices.void_invoice(changed.latest_invoice)
    elif voided_by == "change":
        assert shop.change(subscription, "pro_year_usd", **UPGRADE).pending_update
    else:
        shop.v1.subscriptions.cancel(subscription.id)

    assert shop.v1.invoices.retrieve(changed.latest_invoice).status == "void"
    assert bool(shop.subscription(subscription.id).pending_update) == (voided_by == "change")
    assert price(shop.subscription(subscription.id)) == "pro_month_usd"


def test_pending_update_sets_nothing_else(shop: Shop) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        shop.change(shop.subscribe(), "enterprise_month_usd", **UPGRADE, metadata={"a": "1"})
    assert refusal.value.param == "metadata"


def test_declined_upgrade_can_be_an_error(shop: Shop) -> None:
    subscription = shop.subscribe()
    shop.stand_in.do("set_card", customer=subscription.customer, card="pm_card_chargeCustomerFail")
    behavior = {"proration_behavior": "always_invoice", "payment_behavior": "error_if_incomplete"}
    with pytest.raises(stripe.CardError):
        shop.change(subscription, "enterprise_month_usd", **behavior)

    after = shop.subscription(subscription.id)
    assert (price(after), after.status, after.latest_invoice.status) == ("pro_month_usd", "active", "void")


def test_declined_upgrade_applies_by_default(shop: Shop) -> None:
    subscription = shop.subscribe()
    shop.stand_in.do("set_card", customer=subscription.customer, card="pm_card_chargeCustomerFail")
    changed = shop.change(subscription, "enterprise_month_usd", proration_behavior="always_invoice")

    assert (price(changed), changed.status) == ("enterprise_month_usd", "past_due")


def test_prorations_wait_for_the_next_invoice(shop: Shop) -> None:
    subscription = shop.subscribe()
    half_way(shop, subscription)
    shop.change(subscription, "enterprise_month_usd")
    expected = [-MONTH // 2, ENTERPRISE // 2, ENTERPRISE]
    assert lines(preview(shop, subscription)) == expected

    shop.stand_in.advance(seconds=period(subscription)[1] - shop.stand_in.now + 3600)
    invoice = shop.subscription(subscription.id).latest_invoice
    assert (lines(invoice), invoice.status) == (expected, "paid")


def test_change_without_proration_costs_nothing(shop: Shop) -> None:
    subscription = shop.subscribe()
    half_way(shop, subscription)
    changed = shop.change(subscription, "enterprise_month_usd", proration_behavior="none")

    assert (price(changed), changed.latest_invoice) == ("enterprise_month_usd", subscription.latest_invoice)
    assert lines(preview(shop, changed)) == [ENTERPRISE]


def test_credit_reduces_the_next_invoice(shop: Shop) -> None:
    subscription = shop.subscribe("enterprise_month_usd")
    half_way(shop, subscription)
    changed = shop.change(subscription, "pro_month_usd", **UPGRADE, expand=["latest_invoice"])
    credit = (ENTERPRISE - MONTH) // 2
    assert (changed.latest_invoice.total, changed.latest_invoice.amount_due) == (-credit, 0)
    assert shop.v1.customers.retrieve(subscription.customer).balance == -credit

    shop.stand_in.advance(seconds=period(subscription)[1] - shop.stand_in.now + 3600)
    invoice = shop.subscription(subscription.id).latest_invoice
    assert (invoice.amount_due, invoice.ending_balance) == (0, MONTH - credit)
    shop.stand_in.advance(days=32)
    assert shop.v1.customers.retrieve(subscription.customer).balance == 2 * MONTH - credit


@pytest.mark.parametrize("wrong", [{"items": [{"price": "enterprise_month_usd"}]}, {"proration_date": 1}])
def test_wrong_change_is_refused(shop: Shop, wrong: dict[str, Any]) -> None:
    subscription = shop.subscribe()
    item = {"id": subscription["items"].data[0].id, "price": shop.prices["enterprise_month_usd"]}
    with pytest.raises(stripe.InvalidRequestError):
        shop.v1.subscriptions.update(subscription.id, {"items": [item], **wrong})


def test_price_in_another_currency_is_refused(shop: Shop) -> None:
    product = shop.v1.products.create({"name": "Plan"})
    fields = {"product": product.id, "currency": "eur", "unit_amount": 100, "recurring": {"interval": "month"}}
    shop.prices["eur"] = shop.v1.prices.create(fields).id
    with pytest.raises(stripe.InvalidRequestError, match="currency"):
        shop.change(shop.subscribe(), "eur")


def test_preview_of_no_renewal_is_refused(shop: Shop) -> None:
    subscription = shop.subscribe()
    assert lines(preview(shop, subscription)) == [MONTH]
    with pytest.raises(stripe.InvalidRequestError):
        shop.v1.invoices.create_preview({"customer": subscription.customer})
    shop.v1.subscriptions.update(subscription.id, {"cancel_at_period_end": True})
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        preview(shop, subscription)
    assert refusal.value.code == "invoice_upcoming_none"
    shop.v1.subscriptions.cancel(subscription.id)
    with pytest.raises(stripe.InvalidRequestError):
        preview(shop, subscription, "enterprise_month_usd")


def test_cancellation_moves_with_the_period(shop: Shop) -> None:
    subscription = shop.subscribe()
    shop.v1.subscriptions.update(subscription.id, {"cancel_at_period_end": True})
    changed = shop.change(subscription, "pro_year_usd", **UPGRADE)

    assert changed.cancel_at == period(changed)[1]


def downgrade(shop: Shop, subscription: Any, to: str, **params: Any) -> Any:
    """Plan a change at the end of the period, as Stripe describes it."""
    schedule = shop.v1.subscription_schedules.create({"from_subscription": subscription.id})
    current = schedule.phases[0]
    phases = [
        {
            "items": [{"price": current["items"][0].price, "quantity": 1}],
            "start_date": current.start_date,
            "end_date": current.end_date,
        },
        {"items": [{"price": shop.prices[to], "quantity": 1}], "proration_behavior": "none"},
    ]
    return shop.v1.subscription_schedules.update(schedule.id, {"phases": phases, "end_behavior": "release"} | params)


def test_downgrade_happens_at_period_end(shop: Shop) -> None:
    subscription = shop.subscribe("enterprise_month_usd")
    schedule = downgrade(shop, subscription, "pro_month_usd")
    end = period(subscription)[1]
    assert [phase.start_date for phase in schedule.phases] == [period(subscription)[0], end]
    shop.stand_in.advance(seconds=end - 1 - shop.stand_in.now)
    assert price(shop.subscription(subscription.id)) == "enterprise_month_usd"

    shop.stand_in.advance(seconds=3601)
    after = shop.subscription(subscription.id)
    assert (price(after), after.schedule, lines(after.latest_invoice)) == ("pro_month_usd", schedule.id, [MONTH])
    shop.stand_in.advance(days=32)
    released = shop.v1.subscription_schedules.retrieve(schedule.id)
    assert (released.status, released.released_subscription) == ("released", subscription.id)
    assert shop.subscription(subscription.id).schedule is None
    assert shop.subscription(subscription.id).status == "active"


def test_year_becomes_month_at_period_end(shop: Shop) -> None:
    subscription = shop.subscribe("pro_year_usd")
    downgrade(shop, subscription, "pro_month_usd")
    end = period(subscription)[1]
    shop.stand_in.advance(seconds=end - shop.stand_in.now + 3600)

    after = shop.subscription(subscription.id)
    assert (price(after), period(after)[0], after.billing_cycle_anchor) == ("pro_month_usd", end, end)
    assert after.latest_invoice.amount_paid == MONTH


def test_released_schedule_changes_nothing(shop: Shop) -> None:
    subscription = shop.subscribe("enterprise_month_usd")
    schedule = downgrade(shop, subscription, "pro_month_usd")
    assert shop.v1.subscription_schedules.release(schedule.id).status == "released"
    assert shop.subscription(subscription.id).schedule is None
    with pytest.raises(stripe.InvalidRequestError):
        shop.v1.subscription_schedules.update(schedule.id, {"end_behavior": "cancel"})

    shop.stand_in.advance(days=40)
    assert price(shop.subscription(subscription.id)) == "enterprise_month_usd"


def test_schedule_manages_the_cancellation(shop: Shop) -> None:
    subscription = shop.subscribe()
    schedule = downgrade(shop, subscription, "pro_month_usd", end_behavior="cancel")
    with pytest.raises(stripe.InvalidRequestError, match=f"managed by the subscription schedule `{schedule.id}`"):
        shop.v1.subscriptions.update(subscription.id, {"cancel_at_period_end": True})

    shop.stand_in.advance(days=40)
    assert shop.subscription(subscription.id).status == "active"
    shop.stand_in.advance(days=40)
    assert shop.subscription(subscription.id).status == "canceled"


@pytest.mark.parametrize("canceled", ["schedule", "subscription"])
def test_schedule_ends_with_its_subscription(shop: Shop, canceled: str) -> None:
    subscription = shop.subscribe()
    schedule = shop.v1.subscription_schedules.create({"from_subscription": subscription.id, "metadata": {"a": "1"}})
    if canceled == "schedule":
        shop.v1.subscription_schedules.cancel(schedule.id)
    else:
        shop.v1.subscriptions.cancel(subscription.id)

    assert shop.v1.subscription_schedules.retrieve(schedule.id).status == "canceled"
    assert shop.subscription(subscription.id).status == "canceled"
    with pytest.raises(stripe.InvalidRequestError, match="already canceled"):
        shop.v1.subscription_schedules.create({"from_subscription": subscription.id})


def test_wrong_schedule_is_refused(shop: Shop) -> None:
    subscription = shop.subscribe()
    schedule = shop.v1.subscription_schedules.create({"from_subscription": subscription.id})
    with pytest.raises(stripe.InvalidRequestError, match="already attached"):
        shop.v1.subscription_schedules.create({"from_subscription": subscription.id})
    current = {"items": [{"price": shop.prices["pro_month_usd"]}]}
    year = {"items": [{"price": shop.prices["pro_year_usd"]}]}
    wrong: list[list[dict[str, Any]]] = [
        [year],
        [current, year, current],
        [current | {"end_date": shop.stand_in.now + 60}],
        [{"start_date": shop.stand_in.now}],
    ]
    for phases in wrong:
        with pytest.raises(stripe.InvalidRequestError):
            shop.v1.subscription_schedules.update(schedule.id, {"phases": phases})
    assert [each.id for each in shop.v1.subscription_schedules.list().data] == [schedule.id]
