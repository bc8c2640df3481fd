"""The server is killed after any statement and any call to Stripe; what is left is completed by the next look, once."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest

from audifi.payments import syncs
from tests.payments.processes import is_killed, process
from tests.payments.shops import Shop
from tests.subscriptions.buying import PRICES, Buyer

pytestmark = pytest.mark.slow

LAST = 60
"""More than the steps of a look."""


async def kill_each_step(shop: Shop, prepare: Callable[[], tuple[Buyer, Any]], check: Callable[[Buyer], None]) -> int:
    """Kill a look at a subscription after each of its steps, look again twice, and check what there is."""
    for steps in range(LAST):
        buyer, look = await asyncio.to_thread(prepare)
        was_killed = await is_killed(shop, steps, look)
        async with process(shop) as services:
            await look(services)
            await look(services)
        await asyncio.to_thread(check, buyer)
        if not was_killed:
            return steps
    raise AssertionError("a look has more steps than this test tries")


def looking_at(buyer: Buyer) -> Callable[..., Awaitable[None]]:
    return partial(syncs.sync_now, kind="subscription", provider_id=buyer.subscription().id)


def test_kill_between_any_two_steps_books_one_invoice(shop: Shop) -> None:
    def pay() -> tuple[Buyer, Any]:
        buyer = Buyer(shop)
        page = buyer.page("ENTERPRISE")
        shop.stand_in.do("disturb", lose=100)
        shop.pay(page)
        return buyer, looking_at(buyer)

    def check(buyer: Buyer) -> None:
        assert buyer.state() == ("ENTERPRISE", "active")
        assert buyer.paid() == PRICES["enterprise_month_usd"]

    assert asyncio.run(kill_each_step(shop, pay, check)) > 5


def test_kill_between_any_two_steps_refunds_once(shop: Shop) -> None:
    """A second subscription of the account is canceled at Stripe, and what it cost is refunded."""

    def subscribe_twice() -> tuple[Buyer, Any]:
        buyer = Buyer(shop).subscribe("ENTERPRISE")
        first = buyer.subscription()
        price = shop.value("SELECT price_id FROM plan_prices WHERE lookup_key = 'pro_month_usd'")
        parameters: Any = {"customer": buyer.customer(), "items": [{"price": price}]}
        shop.stand_in.do("disturb", lose=100)
        shop.stripe.v1.subscriptions.create(parameters | {"default_payment_method": first.default_payment_method})
        look = looking_at(buyer)
        shop.stand_in.do("disturb")
        return buyer, look

    def check(buyer: Buyer) -> None:
        shop.settle()
        assert buyer.state() == ("ENTERPRISE", "active")
        assert buyer.subscription().status == "canceled"
        assert buyer.paid() == PRICES["enterprise_month_usd"]

    assert asyncio.run(kill_each_step(shop, subscribe_twice, check)) > 5
