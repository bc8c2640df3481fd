"""The server is killed after any statement and any call to Stripe; what is left is completed by the job, once."""

import asyncio
from functools import partial
from typing import Any
from uuid import UUID

import pytest

from audifi.payments import checkouts, syncs
from audifi.payments.checkouts import NewCheckout
from tests.payments.processes import is_killed, process
from tests.payments.shops import PATHS, Shop
from tests.support.clients import Client

LAST = 40
"""More than the steps of a checkout."""


def started(shop: Shop, client: Client) -> UUID:
    """Commit the row of a checkout, and nothing else."""

    async def act() -> UUID:
        wanted = NewCheckout(
            kind="deposit", amount=5000, currency="USD", success_path=PATHS["success_path"], cancel_path="/wallet"
        )
        user_id = UUID(client.tokens["user"]["id"])
        async with process(shop) as services, services.database.transaction() as transaction:
            row = await checkouts.create(transaction, user_id=user_id, wanted=wanted, now=services.clock())
        return row.id

    return asyncio.run(act())


def sessions(shop: Shop, checkout_id: UUID) -> list[Any]:
    """Return the sessions at Stripe of a checkout."""
    everything = shop.stand_in.do("objects", kind="checkout.session")["data"]
    return [each for each in everything if each["metadata"].get("audifi_id") == str(checkout_id)]


@pytest.mark.slow
def test_kill_between_any_two_steps_makes_one_page(shop: Shop) -> None:
    async def act() -> int:
        for steps in range(LAST):
            checkout_id = await asyncio.to_thread(lambda: started(shop, shop.fan()))
            was_killed = await is_killed(shop, steps, partial(checkouts.open_page, checkout_id=checkout_id))
            shop.app.clock.advance(seconds=90)
            async with process(shop) as services:
                await checkouts.resume(services)
                row = await checkouts.find(services, checkout_id=checkout_id)
            shop.app.clock.advance(seconds=-90)
            assert [(row.provider_id, row.status)] == [(each["id"], "open") for each in sessions(shop, checkout_id)]
            if not was_killed:
                return steps
        raise AssertionError("a checkout has more steps than this test tries")

    assert asyncio.run(act()) > 5


@pytest.mark.slow
def test_kill_between_any_two_steps_credits_once(shop: Shop) -> None:
    async def act() -> int:
        for steps in range(LAST):
            fan = shop.fan()
            checkout_id = shop.opened(fan)
            shop.stand_in.do("disturb", lose=100)
            session = (await asyncio.to_thread(shop.pay, checkout_id))["id"]
            look = partial(syncs.sync_now, kind="checkout", provider_id=session)
            was_killed = await is_killed(shop, steps, look)
            async with process(shop) as services:
                await look(services)
                await look(services)
            assert await asyncio.to_thread(shop.balance, fan) == 5000
            if not was_killed:
                return steps
        raise AssertionError("a sync has more steps than this test tries")

    assert asyncio.run(act()) > 5


def test_page_is_only_looked_for_after_minutes(shop: Shop) -> None:
    """Stripe forgets the key after a day: a repetition would make a second page."""

    async def act() -> tuple[Any, Any]:
        fan = shop.fan()
        await asyncio.to_thread(shop.opened, fan)  # else the customer's steps would come first
        made, lost = [await asyncio.to_thread(started, shop, fan) for _ in range(2)]
        for steps in range(LAST):  # until it is killed after Stripe has made the page
            await is_killed(shop, steps, partial(checkouts.open_page, checkout_id=made))
            if sessions(shop, made):
                break
        shop.stand_in.do("disturb", lose=100)  # nobody says that the page has expired
        await asyncio.to_thread(shop.advance, hours=23)
        async with process(shop) as services:
            await checkouts.resume(services)
            rows = [await checkouts.find(services, checkout_id=each) for each in (made, lost)]
        assert [len(sessions(shop, each)) for each in (made, lost)] == [1, 0]
        return rows[0], rows[1]

    made, lost = asyncio.run(act())
    assert (made.status, lost.status) == ("expired", "failed")
