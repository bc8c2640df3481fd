"""What people try to get for nothing: a plan, a longer one, a higher limit, a second trial."""

from collections import Counter

from tests.masters.requests import archive, create
from tests.payments.shops import Shop
from tests.subscriptions.buying import MONTH, Buyer, refusal
from tests.support.clients import at_once

PARALLEL = 50
USED = "SELECT used FROM usage_counters WHERE user_id = $1 AND key = 'masters'"


def register_many(buyer: Buyer) -> dict[str, int]:
    answers = at_once([lambda: create(buyer.client)] * PARALLEL)
    return Counter("made" if answer.status_code == 201 else refusal(answer) for answer in answers)


def test_limit_holds_against_many_at_once(buyer: Buyer) -> None:
    assert register_many(buyer) == {"made": 1, "403 plan.limit_reached": PARALLEL - 1}


def test_one_master_archived_many_times_is_released_once(buyer: Buyer) -> None:
    buyer.subscribe()
    masters = [create(buyer.client).json()["id"] for _ in range(3)]
    assert buyer.cancel("?cancelImmediately=true").status_code == 200

    at_once([lambda: archive(buyer.client, masters[0])] * 10)

    assert buyer.shop.value(USED, buyer.user_id) == 2
    assert refusal(create(buyer.client)) == "403 plan.limit_reached"


def test_trial_is_not_offered_to_a_new_account_of_a_mailbox(shop: Shop, buyer: Buyer) -> None:
    buyer.subscribe()
    buyer.cancel()
    assert buyer.client.as_signed_in("DELETE", "/auth/me").status_code == 204
    shop.settle()
    again = Buyer(shop)
    again.client.email = buyer.client.email
    again.client.sign_in()

    again.subscribe(card="pm_card_mastercard")

    assert again.user_id != buyer.user_id
    assert again.get()["subscription"]["trial_end"] is None
    assert again.paid() == MONTH


def test_trials_of_pages_opened_before_are_one(shop: Shop, buyer: Buyer) -> None:
    """Each account was offered a trial, and has the page open."""
    other = Buyer(shop, tag_of=buyer)
    pages = [(buyer.page(), "pm_card_visa"), (other.page(), "pm_card_mastercard")]

    for page, card in pages:
        shop.pay(page, card)
    shop.settle()

    assert sorted([buyer.state(), other.state()]) == [("FREE", "canceled"), ("PRO", "trialing")]


def test_higher_plan_on_trial_that_is_declined_gives_nothing(buyer: Buyer) -> None:
    trial_end = buyer.subscribe().get()["subscription"]["trial_end"]
    buyer.use_card("pm_card_chargeCustomerFail")

    assert refusal(buyer.upgrade("ENTERPRISE", "month")) == "402 payment.action_required"

    assert buyer.state() == ("PRO", "trialing")
    assert buyer.get()["subscription"]["trial_end"] == trial_end
    assert buyer.paid() == 0


def test_grace_is_not_lengthened_by_changes(buyer: Buyer) -> None:
    buyer.subscribe(card="pm_card_chargeCustomerFail")
    buyer.shop.advance(days=14.1)
    access_until = buyer.back().column("access_until")
    assert buyer.state() == ("PRO", "past_due")

    buyer.shop.advance(days=5)
    for answer in (buyer.back().cancel(), buyer.reactivate()):
        assert answer.status_code == 200, answer.text
    for plan in ("PRO", "ENTERPRISE"):
        assert refusal(buyer.change(plan, "year")) == "409 subscription.past_due"
    assert refusal(buyer.start()) == "409 subscription.exists"

    assert buyer.column("access_until") == access_until
    buyer.shop.advance(days=2)
    assert buyer.back().state()[0] == "FREE"


def test_plan_canceled_at_once_and_bought_again_is_paid_again(buyer: Buyer) -> None:
    buyer.subscribe_paid()
    assert buyer.cancel("?cancelImmediately=true").status_code == 200
    assert refusal(buyer.reactivate()) == "409 subscription.ended"

    buyer.subscribe()

    assert buyer.state() == ("PRO", "active")
    assert buyer.paid() == 2 * MONTH


def test_many_pages_at_once_are_one_subscription(buyer: Buyer) -> None:
    at_once([buyer.start, lambda: buyer.start("ENTERPRISE")] * 3)
    page = buyer.page()
    buyer.shop.pay(page)
    buyer.shop.settle()

    assert refusal(buyer.start("ENTERPRISE")) == "409 subscription.exists"
    assert len(buyer.shop.stripe.v1.subscriptions.list({"customer": buyer.customer(), "status": "all"}).data) == 1
