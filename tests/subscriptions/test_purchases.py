"""Buy a plan: one page and one subscription per account, one trial per account, mailbox and card."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from audifi.core.http.problems import Problem
from audifi.payments.checkouts import NewCheckout
from audifi.payments.syncs import sync_now
from audifi.subscriptions import purchases
from tests.payments.processes import process
from tests.payments.shops import Shop
from tests.subscriptions.buying import ENTERPRISE, MONTH, YEAR, Buyer, refusal
from tests.support.clients import at_once

LIVE = "SELECT count(*) FROM subscriptions WHERE user_id = $1 AND status IN ('trialing', 'active')"


def test_sync_of_a_paid_page_brings_the_plan(buyer: Buyer) -> None:
    """The page that Stripe leads back to shows it at once."""
    page = buyer.page()
    buyer.shop.stand_in.do("disturb", lose=100)
    buyer.shop.pay(page)
    assert buyer.shop.sync(buyer.client, page).json()["status"] == "complete"
    assert buyer.state() == ("PRO", "trialing")


def test_same_plan_again_returns_the_same_page(buyer: Buyer) -> None:
    key = str(uuid4())
    first, retry, again = buyer.start(key=key), buyer.start(key=key), buyer.start()

    assert (first.status_code, retry.status_code, again.status_code) == (201, 201, 200)
    assert first.json() == retry.json() == again.json()
    assert refusal(buyer.start("ENTERPRISE", key=key)) == "422 idempotency_key.reused"


def test_page_for_another_plan_ends_the_first(buyer: Buyer) -> None:
    first = buyer.page()
    second = buyer.page("ENTERPRISE")

    assert first != second
    with pytest.raises(Exception, match="expired"):
        buyer.shop.pay(first)
    buyer.shop.pay(second)
    buyer.shop.settle()
    assert buyer.state() == ("ENTERPRISE", "active")
    assert refusal(buyer.start()) == "409 subscription.exists"


def test_page_that_was_just_paid_is_not_replaced(buyer: Buyer) -> None:
    """The event is late: Stripe is asked, and nothing is bought twice."""
    page = buyer.page()
    buyer.shop.stand_in.do("disturb", held=True)
    buyer.shop.pay(page)

    assert refusal(buyer.start("ENTERPRISE")) == "409 subscription.exists"
    assert buyer.state() == ("PRO", "trialing")


def test_expired_page_is_replaced(buyer: Buyer) -> None:
    first = buyer.page()
    buyer.shop.stand_in.do("disturb", lose=100)
    buyer.shop.advance(hours=1)

    assert buyer.back().page() != first


def test_page_in_progress_is_waited_for(buyer: Buyer) -> None:
    buyer.page()
    buyer.shop.execute(
        f"UPDATE checkouts SET status = 'creating', provider_id = NULL, url = NULL WHERE user_id = '{buyer.user_id}'"
    )

    refused = buyer.start()

    assert (refusal(refused), refused.headers["Retry-After"]) == ("409 checkout.in_progress", "2")
    buyer.shop.execute(f"UPDATE checkouts SET status = 'failed' WHERE user_id = '{buyer.user_id}'")


def test_request_that_comes_second_is_refused(buyer: Buyer) -> None:
    """Both have found no page; the unique index decides."""
    price = buyer.shop.value("SELECT price_id FROM plan_prices WHERE lookup_key = 'pro_month_usd'")
    wanted = NewCheckout(
        kind="subscription",
        amount=MONTH,
        currency="USD",
        success_path="/",
        cancel_path="/",
        plan="PRO",
        interval="month",
        price_id=price,
    )

    async def begin_twice() -> str:
        async with process(buyer.shop) as services:
            for _ in range(2):
                try:
                    async with services.database.transaction() as transaction:
                        await purchases.start(transaction, user_id=buyer.user_id, wanted=wanted, now=services.clock())
                except Problem as problem:
                    return problem.code
        return "both"

    assert asyncio.run(begin_twice()) == "checkout.in_progress"


def test_two_pages_at_once_are_one(buyer: Buyer) -> None:
    answers = at_once([buyer.start, lambda: buyer.start("ENTERPRISE")])

    pages = "SELECT count(*) FROM checkouts WHERE user_id = $1 AND status IN ('creating', 'open')"
    assert buyer.shop.value(pages, buyer.user_id) == 1
    assert {answer.status_code for answer in answers} <= {201, 409}


def test_price_and_plan_are_checked(buyer: Buyer) -> None:
    changed = buyer.start(expected_amount=MONTH - 1)

    assert (refusal(changed), changed.json()["amount"]) == ("409 plan.price_changed", MONTH)
    assert refusal(buyer.start("FREE")) == "422 request.invalid"
    assert refusal(buyer.start(currency="EUR")) == "422 request.invalid"


def test_nothing_is_sold_while_stripe_is_away(buyer: Buyer) -> None:
    buyer.page()
    buyer.shop.stand_in.do("fail", kind="error_before", times=9)

    assert refusal(buyer.start("ENTERPRISE")) == "503 payments.provider_unavailable"


def test_second_subscription_is_ended_and_refunded(buyer: Buyer) -> None:
    """Somebody made it at Stripe by hand."""
    buyer.subscribe_paid()
    first = buyer.subscription()
    price = buyer.shop.value("SELECT price_id FROM plan_prices WHERE lookup_key = 'enterprise_month_usd'")
    parameters: Any = {"customer": buyer.customer(), "items": [{"price": price}]}
    second = buyer.shop.stripe.v1.subscriptions.create(
        parameters | {"default_payment_method": first.default_payment_method}
    )
    buyer.shop.settle()

    assert buyer.state() == ("PRO", "active")
    assert buyer.shop.value(LIVE, buyer.user_id) == 1
    assert buyer.shop.stripe.v1.subscriptions.retrieve(second.id).status == "canceled"
    refunded = "SELECT refunded FROM invoices WHERE total = $1 AND user_id = $2"
    assert buyer.shop.value(refunded, ENTERPRISE, buyer.user_id) == ENTERPRISE


def test_second_trial_with_a_card_is_refused(shop: Shop, buyer: Buyer) -> None:
    other = Buyer(shop).subscribe(card="pm_card_mastercard")
    buyer.subscribe(card="pm_card_mastercard")

    assert (other.state(), buyer.state()) == (("PRO", "trialing"), ("FREE", "canceled"))
    assert buyer.subscription().status == "canceled"
    assert buyer.mails() == ["trial_refused"]
    assert buyer.invoices()[0].amount_paid == 0
    buyer.subscribe(card="pm_card_mastercard")  # without a trial
    assert buyer.state() == ("PRO", "active")
    assert buyer.get()["subscription"]["trial_end"] is None


def test_second_trial_of_a_mailbox_is_not_offered(shop: Shop, buyer: Buyer) -> None:
    buyer.subscribe()
    other = Buyer(shop, tag_of=buyer)
    other.subscribe(card="pm_card_mastercard")

    assert other.get()["subscription"]["trial_end"] is None


def test_trial_is_not_offered_again(buyer: Buyer) -> None:
    buyer.subscribe()
    assert buyer.cancel("?cancelImmediately=true").status_code == 200
    assert buyer.state() == ("FREE", "canceled")

    buyer.subscribe(interval="year", card="pm_card_mastercard")

    assert buyer.state() == ("PRO", "active")
    assert buyer.invoices()[0].amount_paid == YEAR


@pytest.mark.parametrize("second_first", [False, True])
def test_one_card_at_once_is_one_trial(shop: Shop, second_first: bool) -> None:  # noqa: FBT001
    """Two syncs write at once; the second waits for the first one's row."""
    buyers = [Buyer(shop), Buyer(shop)]
    pages = [buyer.page() for buyer in buyers]
    shop.stand_in.do("disturb", lose=100)
    for page in pages:
        shop.pay(page)
    ids = [buyer.subscription().id for buyer in buyers]

    async def race() -> None:
        async with process(shop) as here, process(shop) as there:
            looks = [
                sync_now(each, kind="subscription", provider_id=id_)
                for each, id_ in zip((here, there), ids, strict=True)
            ]
            await asyncio.gather(*(reversed(looks) if second_first else looks))

    asyncio.run(race())
    shop.settle()

    assert sorted(buyer.state() for buyer in buyers) == [("FREE", "canceled"), ("PRO", "trialing")]


def test_unknown_price_and_customer_are_not_a_plan(shop: Shop, buyer: Buyer) -> None:
    """An operator sells something else to a customer that isn't an account's."""
    product = shop.stripe.v1.products.create({"name": "Shirt of the month"})
    price = shop.stripe.v1.prices.create(
        {"product": product.id, "currency": "usd", "unit_amount": 5, "recurring": {"interval": "month"}}
    )
    customer = shop.stripe.v1.customers.create({"email": "ann@example.com"})
    shop.stand_in.do("set_card", customer=customer.id, card="pm_card_visa")
    made = shop.stripe.v1.subscriptions.create({"customer": customer.id, "items": [{"price": price.id}]})
    shop.settle()

    assert shop.value("SELECT count(*) FROM subscriptions WHERE provider_id = $1", made.id) == 0
    assert buyer.state() == ("FREE", None)


@pytest.mark.parametrize("second_first", [False, True])
def test_two_subscriptions_at_once_are_one(buyer: Buyer, second_first: bool) -> None:  # noqa: FBT001
    """Both were made while no event arrived, as on two devices."""
    shop = buyer.shop
    buyer.page()
    shop.stand_in.do("disturb", lose=100)
    buyer.use_card("pm_card_visa")
    price = shop.value("SELECT price_id FROM plan_prices WHERE lookup_key = 'pro_month_usd'")
    parameters: Any = {"customer": buyer.customer(), "items": [{"price": price}]}
    ids = [shop.stripe.v1.subscriptions.create(parameters).id for _ in range(2)]

    async def race() -> None:
        async with process(shop) as here, process(shop) as there:
            looks = [
                sync_now(each, kind="subscription", provider_id=id_)
                for each, id_ in zip((here, there), ids, strict=True)
            ]
            await asyncio.gather(*(reversed(looks) if second_first else looks))

    asyncio.run(race())
    shop.settle()

    assert shop.value(LIVE, buyer.user_id) == 1
    statuses = sorted(shop.stripe.v1.subscriptions.retrieve(id_).status for id_ in ids)
    assert statuses == ["active", "canceled"]
    assert buyer.paid() == MONTH


def test_mails_are_sent_once_and_not_to_deleted_accounts(buyer: Buyer) -> None:
    shop = buyer.shop
    shop.stand_in.do("disturb", copies=3)
    buyer.subscribe(card="pm_card_mastercard")
    shop.advance(days=11.1)
    [mail] = [each for each in shop.sendgrid.mails_to(buyer.client.email) if "trial ends" in each["subject"]]
    assert mail["subject"] == "Your AudiFi trial ends in 3 days"
    buyer.back().cancel()
    assert buyer.client.as_signed_in("DELETE", "/auth/me").status_code == 204
    count = len(shop.sendgrid.mails_to(buyer.client.email))

    shop.advance(days=4)

    assert buyer.mails() == ["trial_ending", "canceled"]
    assert len(shop.sendgrid.mails_to(buyer.client.email)) == count
