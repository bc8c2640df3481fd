"""Calls to Stripe: what its errors mean, and that none of them does something twice."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import pytest
from pydantic import SecretStr

from audifi.core.http.problems import Problem
from audifi.payments import checkouts
from audifi.payments.client import RefusedError
from audifi.payments.stripe_objects import Reader, UnexpectedObjectError
from tests.payments.processes import process
from tests.payments.shops import KEY, Shop
from tests.payments.test_kills import started
from tests.support.clients import Client, at_once

CREATE = {"method": "POST", "path": "/v1/checkout/sessions"}


def sessions(shop: Shop) -> int:
    return len(shop.stand_in.do("objects", kind="checkout.session")["data"])


def test_failing_stripe_answers_503_and_the_retry_works(shop: Shop, fan: Client) -> None:
    before, key = sessions(shop), str(uuid4())
    shop.stand_in.do("fail", kind="rate_limit", **CREATE)
    failed = shop.deposit(fan, key=key)
    assert (failed.status_code, failed.json()["code"]) == (503, "payments.provider_unavailable")
    assert failed.headers["Retry-After"] == "5"
    assert shop.deposit(fan, key=key).status_code == 201
    assert sessions(shop) - before == 1


def test_error_that_stripe_repeats_ends_after_minutes(shop: Shop, fan: Client) -> None:
    """Stripe repeats even its own 500, for a day."""
    key = str(uuid4())
    shop.stand_in.do("fail", kind="error_before", **CREATE)
    assert [shop.deposit(fan, key=key).status_code for _ in range(2)] == [503, 503]
    shop.app.clock.advance(minutes=4)
    assert shop.deposit(fan, key=key).json()["code"] == "checkout.failed"
    shop.app.clock.advance(minutes=-4)
    assert shop.deposit(fan).status_code == 201


def open_page(shop: Shop, checkout_id: UUID, **settings: Any) -> Any:
    async def act() -> Any:
        async with process(shop, **settings) as services:
            return await checkouts.open_page(services, checkout_id=checkout_id)

    return asyncio.run(act())


def test_timeout_after_the_effect_makes_one_page(shop: Shop, fan: Client) -> None:
    checkout_id, before = started(shop, fan), sessions(shop)
    shop.stand_in.do("fail", kind="timeout_after", **CREATE)
    with pytest.raises(Problem, match=r"payments\.provider_unavailable"):
        open_page(shop, checkout_id, stripe_timeout_seconds=1)
    assert open_page(shop, checkout_id).status == "open"
    assert sessions(shop) - before == 1


def test_page_that_stripe_refuses_fails_its_checkout(shop: Shop, fan: Client) -> None:
    """It would end in less than 30 minutes."""
    checkout_id = started(shop, fan)
    shop.execute(f"UPDATE checkouts SET expires_at = created_at WHERE id = '{checkout_id}'")
    with pytest.raises(Problem, match=r"checkout\.failed"):
        open_page(shop, checkout_id)


def test_checkout_without_a_page_yet_is_being_made(shop: Shop, fan: Client) -> None:
    assert shop.sync(fan, str(started(shop, fan))).json()["status"] == "creating"


def test_requests_at_once_with_a_key_make_one_page(shop: Shop, fan: Client) -> None:
    before, key = sessions(shop), str(uuid4())
    codes = [answer.status_code for answer in at_once([lambda: shop.deposit(fan, key=key)] * 3)]
    assert set(codes) <= {201, 409}
    assert shop.deposit(fan, key=key).status_code == 201
    assert sessions(shop) - before == 1
    assert (
        shop.value("SELECT count(*) FROM provider_customers WHERE user_id = $1::text::uuid", fan.tokens["user"]["id"])
        == 1
    )


def call(shop: Shop, name: str, work: Any, *, method: str = "call", **settings: Any) -> Any:
    async def act() -> Any:
        async with process(shop, **settings) as services:
            return await getattr(services.stripe, method)(name, work)

    return asyncio.run(act())


def test_refusals_of_stripe_are_told_apart(shop: Shop) -> None:
    with pytest.raises(RefusedError) as missing:
        call(shop, "customer_retrieve", lambda v1: v1.customers.retrieve_async("cus_nobody"))
    assert missing.value.is_missing
    with pytest.raises(RefusedError) as wrong:
        call(shop, "refund_create", lambda v1: v1.refunds.create_async({}))
    assert (wrong.value.is_missing, str(wrong.value)) == (False, "refund_create: 400 parameter_missing")
    with pytest.raises(RefusedError):  # not that it doesn't exist
        call(shop, "refund_create", lambda v1: v1.refunds.create_async({}), method="find")
    unusable: list[dict[str, Any]] = [
        {"stripe_secret_key": SecretStr("sk_wrong")},
        {"stripe_api_base": "http://127.0.0.1:1"},
    ]
    for settings in unusable:
        with pytest.raises(Problem, match=r"payments\.provider_unavailable"):
            call(shop, "balance", lambda v1: v1.balance.retrieve_async(), **settings)


@pytest.mark.parametrize(
    ("card", "code"),
    [
        ("pm_card_visa_chargeDeclinedInsufficientFunds", "insufficient_funds"),
        ("pm_card_visa_chargeDeclinedLostCard", "declined"),
    ],
)
def test_declined_card_is_402_and_tells_no_thief(shop: Shop, card: str, code: str) -> None:
    """The card was reported lost; the answer doesn't give this reason to its holder."""
    customer = shop.stripe.v1.customers.create({})
    product = shop.stripe.v1.products.create({"name": "Plan"})
    monthly: Any = {"currency": "usd", "unit_amount": 100, "product": product.id, "recurring": {"interval": "month"}}
    price = shop.stripe.v1.prices.create(monthly)
    subscribed = {"customer": customer.id, "items": [{"price": price.id}], "payment_behavior": "error_if_incomplete"}
    shop.stand_in.do("set_card", customer=customer.id, card=card)
    with pytest.raises(Problem) as declined:
        call(shop, "subscription_create", lambda v1: v1.subscriptions.create_async(subscribed))
    assert (declined.value.status, declined.value.extensions) == (402, {"decline_code": code})


def test_field_that_stripe_moved_fails_loudly() -> None:
    read = Reader({"object": "subscription", "items": {"data": []}, "ended_at": None})
    assert read.time_or_none("ended_at") is None
    assert read.reference("ended_at") is None
    assert read.get("ended_at.at") is None
    with pytest.raises(UnexpectedObjectError, match="subscription has no current_period_end"):
        read.time("current_period_end")
    with pytest.raises(UnexpectedObjectError, match="subscription has ended_at: null"):
        read.text("ended_at")


def test_limits_of_deposits(shop: Shop, fan: Client) -> None:
    assert [shop.deposit(fan, amount).json()["code"] for amount in (499, 1_000_001)] == ["request.invalid"] * 2
    assert shop.deposit(fan, currency="GBP").json()["code"] == "request.invalid"
    for amount in (1_000_000, 999_500):
        assert shop.deposit(fan, amount).status_code == 201
    assert shop.deposit(fan, 501).json()["used"] == 1_999_500
    assert shop.deposit(fan, 500).status_code == 201
    other = shop.fan()
    codes = [shop.deposit(other).json().get("code") for _ in range(6)]
    assert codes == [None] * 5 + ["checkout.limit_exceeded"]


def test_key_is_nowhere_in_the_log(shop: Shop, fan: Client, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    shop.deposited(fan)
    assert KEY not in caplog.text
    assert fan.email not in caplog.text
