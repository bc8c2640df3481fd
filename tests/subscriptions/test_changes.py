"""Changes of a subscription: up now and paid, down at the end, canceled, and taken back."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from audifi.subscriptions import syncs
from audifi.subscriptions.changes import effect_of
from tests.payments.processes import process
from tests.payments.shops import Shop
from tests.subscriptions.buying import ENTERPRISE, MONTH, YEAR, Buyer, refusal


@pytest.mark.parametrize(
    ("old", "new", "effect"),
    [
        (("PRO", "month"), ("PRO", "month"), "none"),
        (("PRO", "month"), ("PRO", "year"), "now"),
        (("PRO", "year"), ("ENTERPRISE", "month"), "now"),
        (("PRO", "year"), ("PRO", "month"), "at_period_end"),
        (("ENTERPRISE", "month"), ("PRO", "year"), "at_period_end"),
    ],
)
def test_change_is_up_now_and_down_later(old: Any, new: Any, effect: str) -> None:
    assert effect_of(*old, to_plan=new[0], to_interval=new[1]) == effect


def test_preview_is_what_is_charged(buyer: Buyer) -> None:
    buyer.subscribe_paid()
    seen = buyer.preview("PRO", "year")

    changed = buyer.upgrade("PRO", "year")

    assert (seen["effect"], seen["unit_amount"]) == ("now", YEAR)
    assert changed.status_code == 200, changed.text
    assert changed.json()["subscription"]["interval"] == "year"
    assert seen["amount_due"] == YEAR - MONTH
    assert sorted(invoice.amount_paid for invoice in buyer.invoices()) == [MONTH, YEAR - MONTH]


def test_upgrade_needs_a_fresh_preview(buyer: Buyer) -> None:
    buyer.subscribe_paid()
    seen = buyer.preview("ENTERPRISE", "month")
    agreed = {"expected_due": seen["amount_due"], "proration_at": seen["proration_at"]}

    assert refusal(buyer.change("ENTERPRISE", "month")) == "422 request.invalid"
    changed = buyer.change("ENTERPRISE", "month", **agreed | {"expected_due": 1})
    assert (refusal(changed), changed.json()["amount"]) == ("409 plan.price_changed", seen["amount_due"])
    buyer.shop.advance(hours=0.2)
    assert refusal(buyer.back().change("ENTERPRISE", "month", **agreed)) == "409 preview.expired"
    assert buyer.state() == ("PRO", "active")


def test_upgrade_with_the_same_key_is_charged_once(buyer: Buyer) -> None:
    """The first answer is lost, and so are the events."""
    buyer.subscribe_paid()
    seen, key = buyer.preview("ENTERPRISE", "month"), str(uuid4())
    agreed = {"expected_due": seen["amount_due"], "proration_at": seen["proration_at"]}
    paid = len(buyer.invoices())
    buyer.shop.stand_in.do("disturb", lose=1000)
    buyer.shop.stand_in.do("fail", kind="error_after", method="POST", path="/v1/subscriptions/", times=1)

    answers = [buyer.change("ENTERPRISE", "month", key=key, **agreed) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [503, 200]
    assert answers[1].json()["plan"] == "ENTERPRISE"
    assert len(buyer.invoices()) == paid + 1


def test_year_within_the_trial_costs_nothing(buyer: Buyer) -> None:
    trial_end = buyer.subscribe().get()["subscription"]["trial_end"]

    assert buyer.preview("PRO", "year")["amount_due"] == 0
    assert buyer.upgrade("PRO", "year").status_code == 200

    after = buyer.get()["subscription"]
    assert (after["status"], after["interval"], after["trial_end"]) == ("trialing", "year", trial_end)


def test_higher_plan_ends_the_trial(buyer: Buyer) -> None:
    buyer.subscribe()

    assert buyer.preview("ENTERPRISE", "month")["amount_due"] == ENTERPRISE
    assert buyer.upgrade("ENTERPRISE", "month").status_code == 200

    assert buyer.state() == ("ENTERPRISE", "active")


def test_planned_downgrade_is_replaced_and_dropped(buyer: Buyer) -> None:
    buyer.subscribe_paid("ENTERPRISE")
    seen = buyer.preview("PRO", "month")
    assert (seen["effect"], seen["amount_due"]) == ("at_period_end", 0)

    for interval in ("month", "year"):
        pending = buyer.change("PRO", interval).json()["subscription"]["pending"]
        assert (pending["plan"], pending["interval"]) == ("PRO", interval)
    assert buyer.preview("ENTERPRISE", "month")["effect"] == "none"
    assert buyer.change("ENTERPRISE", "month").json()["subscription"]["pending"] is None
    assert buyer.subscription().schedule is None
    assert buyer.state() == ("ENTERPRISE", "active")


def test_cancellation_drops_the_planned_downgrade(buyer: Buyer) -> None:
    buyer.subscribe_paid("ENTERPRISE")
    buyer.change("PRO", "month")

    canceled = buyer.cancel().json()["subscription"]

    assert (canceled["cancel_at_period_end"], canceled["pending"]) == (True, None)
    assert canceled["access_until"] == canceled["period_end"]
    assert refusal(buyer.change("PRO", "month")) == "409 subscription.canceling"
    buyer.shop.advance(days=31.1)
    assert buyer.back().state() == ("FREE", "canceled")
    assert buyer.mails() == ["canceled"]
    assert refusal(buyer.reactivate()) == "409 subscription.ended"
    assert refusal(buyer.cancel()) == "409 subscription.none"


def test_account_without_subscription_can_change_nothing(buyer: Buyer) -> None:
    assert refusal(buyer.change("PRO", "month")) == "409 subscription.none"
    assert refusal(buyer.reactivate()) == "409 subscription.none"
    buyer.subscribe_paid()
    assert refusal(buyer.reactivate()) == "409 subscription.not_canceling"


def test_reactivation_whose_answer_was_lost_is_repeated(buyer: Buyer) -> None:
    buyer.subscribe_paid()
    buyer.cancel()
    buyer.shop.stand_in.do("disturb", lose=1000)
    buyer.shop.stripe.v1.subscriptions.update(buyer.subscription().id, {"cancel_at_period_end": False})

    assert buyer.reactivate().json()["subscription"]["cancel_at_period_end"] is False
    assert refusal(buyer.reactivate()) == "409 subscription.not_canceling"


def test_cancellation_now_voids_the_open_invoice(buyer: Buyer) -> None:
    buyer.subscribe(card="pm_card_chargeCustomerFail")
    buyer.shop.advance(days=14.1)
    assert buyer.back().state() == ("PRO", "past_due")

    assert buyer.cancel("?cancelImmediately=true").status_code == 200

    assert buyer.state() == ("FREE", "canceled")
    assert buyer.invoices()[0].status == "void"
    assert buyer.shop.value("SELECT status FROM invoices WHERE provider_id = $1", buyer.invoices()[0].id) == "void"


def test_cancellation_now_needs_a_recent_sign_in(buyer: Buyer) -> None:
    buyer.subscribe_paid()
    buyer.shop.app.clock.advance(minutes=6)

    refused = buyer.client.as_signed_in("DELETE", "/payments/subscription?cancelImmediately=true")

    buyer.shop.app.clock.advance(minutes=-6)
    assert refused.status_code == 401
    assert buyer.state() == ("PRO", "active")


def test_grace_ends_by_time_alone(buyer: Buyer) -> None:
    """No event tells of it: the account is locked out on its next read."""
    buyer.subscribe(card="pm_card_chargeCustomerFail")
    buyer.shop.advance(days=14.1)
    buyer.shop.stand_in.do("disturb", lose=1000)
    since = buyer.back().column("past_due_since")

    assert buyer.column("access_until") == since + timedelta(days=7)
    buyer.shop.advance(days=6)
    assert buyer.back().state()[0] == "PRO"
    buyer.shop.advance(days=1)
    assert buyer.back().state() == ("FREE", "past_due")


def test_status_that_allows_no_change_is_named(buyer: Buyer) -> None:
    buyer.shop.stand_in.do("settings", after_retries="unpaid")
    buyer.subscribe(card="pm_card_chargeCustomerFail")
    buyer.shop.advance(days=40)
    buyer.shop.stand_in.do("settings", after_retries="cancel")
    assert buyer.back().state() == ("FREE", "unpaid")

    for answer in (buyer.cancel(), buyer.change("PRO", "month")):
        assert refusal(answer) == "409 subscription.transition_refused"
        assert (answer.json()["subscription_status"], answer.json()["allowed"]) == ("unpaid", ["cancel_immediately"])
    assert refusal(buyer.start()) == "409 subscription.exists"


def test_change_of_what_has_ended_at_stripe(buyer: Buyer) -> None:
    """It was canceled there, and the event is late."""
    buyer.subscribe_paid()
    buyer.shop.stand_in.do("disturb", held=True)
    buyer.shop.stripe.v1.subscriptions.cancel(buyer.subscription().id)

    assert refusal(buyer.change("PRO", "month")) == "409 subscription.ended"
    assert buyer.state() == ("FREE", "canceled")


def test_subscription_that_is_gone_is_canceled(shop: Shop, buyer: Buyer) -> None:
    buyer.subscribe_paid()
    id_ = buyer.subscription().id

    async def write_twice() -> None:
        async with process(shop) as services:
            for _ in range(2):
                async with services.database.transaction() as transaction:
                    await syncs.SYNC.write(services, transaction, id_, None)

    asyncio.run(write_twice())

    assert buyer.state() == ("FREE", "canceled")
    assert refusal(buyer.reactivate()) == "409 subscription.ended"
