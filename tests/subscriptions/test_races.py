"""A cancellation and a renewal at once, with two transactions: the outcome is what Stripe has."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from audifi.payments import syncs
from audifi.services import Services
from audifi.subscriptions import changes
from tests.payments.processes import process
from tests.payments.shops import Shop
from tests.subscriptions.buying import MONTH, Buyer
from tests.support.races import WAITING, Gate
from tests.support.waiting import wait_until

type Work = Callable[[Services], Awaitable[Any]]


def in_process(shop: Shop, work: Work, gate: Gate | None = None) -> None:
    async def run() -> None:
        async with process(shop, gate=gate) as services:
            await work(services)

    asyncio.run(run())


def in_order(shop: Shop, first: Work, second: Work, *, gate: Gate, between: Callable[[], None]) -> None:
    """Let the second begin when the first is at its gate, which opens when the second has ended or waits for a lock."""
    with ThreadPoolExecutor(2) as threads:
        results = [threads.submit(in_process, shop, first, gate)]
        wait_until(lambda: gate.is_reached.is_set() or results[0].done(), interval=0.005)
        between()
        results.append(threads.submit(in_process, shop, second))
        wait_until(lambda: results[1].done() or shop.value(WAITING) != 0, interval=0.005)
        gate.open()
    for result in results:
        result.result()


def race(buyer: Buyer, *, at_once: bool, is_renewed: bool) -> None:
    """Cancel while the period ends. No event tells of either, until both have been written.

    The first to look at Stripe is stopped before it writes what it has fetched; or, `at_once`, before it commits.
    """
    shop, subscription = buyer.shop, buyer.subscription().id
    period_end = buyer.column("period_end")
    shop.stand_in.do("disturb", lose=10_000)

    async def cancel(services: Services) -> None:
        await changes.cancel(services, user_id=buyer.user_id, at_once=at_once)

    async def look(services: Services) -> None:
        await syncs.sync_now(services, kind="subscription", provider_id=subscription)

    def end_period() -> None:
        shop.move_clocks(int((period_end - shop.app.clock()).total_seconds()) + 60)

    gate = Gate("COMMIT" if at_once else "UPDATE provider_syncs")
    if is_renewed:
        end_period()
        in_order(shop, look, cancel, gate=gate, between=lambda: None)
    else:
        in_order(shop, cancel, look, gate=gate, between=end_period)
    buyer.assert_as_at_stripe(with_invoices=False)
    shop.stand_in.do("disturb")
    shop.advance(hours=1.1)  # a renewal is charged
    buyer.back().assert_as_at_stripe()


@pytest.mark.parametrize("at_once", [False, True])
def test_cancellation_before_the_renewal_ends_it(buyer: Buyer, *, at_once: bool) -> None:
    buyer.subscribe_paid()

    race(buyer, at_once=at_once, is_renewed=False)

    assert (buyer.state(), buyer.paid(), buyer.mails()) == (("FREE", "canceled"), MONTH, ["canceled"])


def test_cancellation_after_the_renewal_ends_the_new_period(buyer: Buyer) -> None:
    buyer.subscribe_paid()

    race(buyer, at_once=False, is_renewed=True)

    assert (buyer.state(), buyer.paid(), buyer.mails()) == (("PRO", "active"), 2 * MONTH, [])
    assert buyer.column("access_until = period_end AND cancel_at_period_end")


def test_cancellation_now_after_the_renewal_charges_nothing(buyer: Buyer) -> None:
    """The renewal's invoice is a draft for an hour."""
    buyer.subscribe_paid()

    race(buyer, at_once=True, is_renewed=True)

    assert (buyer.state(), buyer.paid(), buyer.mails()) == (("FREE", "canceled"), MONTH, ["canceled"])
    assert [invoice.status for invoice in buyer.invoices()] == ["void", "paid"]
