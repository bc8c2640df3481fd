"""A cancellation, and a renewal or an upgrade at once, with two transactions: the outcome is what Stripe has."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from typing import Any, override

import pytest

from audifi.core.http.problems import Problem
from audifi.payments import syncs
from audifi.payments.client import Stripe
from audifi.services import Services
from audifi.subscriptions import changes
from tests.payments.processes import process
from tests.payments.shops import Shop
from tests.subscriptions.buying import ENTERPRISE, MONTH, Buyer
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


def canceling(buyer: Buyer, *, at_once: bool = True) -> Work:
    async def work(services: Services) -> None:
        await changes.cancel(services, user_id=buyer.user_id, at_once=at_once)

    return work


def race(buyer: Buyer, *, at_once: bool, is_renewed: bool) -> None:
    """Cancel while the period ends. No event tells of either, until both have been written.

    The first to look at Stripe is stopped before it writes what it has fetched; or, `at_once`, before it commits.
    """
    shop, subscription = buyer.shop, buyer.subscription().id
    period_end = buyer.column("period_end")
    shop.stand_in.do("disturb", lose=10_000)

    async def look(services: Services) -> None:
        await syncs.sync_now(services, kind="subscription", provider_id=subscription)

    def end_period() -> None:
        shop.move_clocks(int((period_end - shop.app.clock()).total_seconds()) + 60)

    gate = Gate("COMMIT" if at_once else "UPDATE provider_syncs")
    if is_renewed:
        end_period()
        in_order(shop, look, canceling(buyer, at_once=at_once), gate=gate, between=lambda: None)
    else:
        in_order(shop, canceling(buyer, at_once=at_once), look, gate=gate, between=end_period)
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


class Meanwhile(Stripe):
    """Lets something happen at Stripe just before a call."""

    def __init__(self, services: Services, name: str, happens: Work) -> None:
        super().__init__(services.settings)
        self._services, self._name, self._happens = services, name, happens

    @override
    async def call(self, name: str, call: Any) -> Any:
        if name == self._name:
            await self._happens(self._services)
        return await super().call(name, call)


def meet(shop: Shop, first: Work, second: Work, *, call: str) -> None:
    """Let the second decide, and then the first happen, before the second calls Stripe."""

    async def work(services: Services) -> None:
        stripe = Meanwhile(services, call, first)
        try:
            await second(replace(services, stripe=stripe))
        finally:
            await stripe.close()

    in_process(shop, work)
    shop.settle()


def upgrading(buyer: Buyer) -> Work:
    seen = buyer.preview("ENTERPRISE", "month")
    agreed = {"expected_due": seen["amount_due"], "proration_at": datetime.fromisoformat(seen["proration_at"])}

    async def work(services: Services) -> None:
        plan: Any = {"plan": "ENTERPRISE", "interval": "month", "key": f"upgrade {buyer.user_id}"}
        await changes.change(services, user_id=buyer.user_id, now=services.clock(), **plan, **agreed)

    return work


def test_upgrade_after_the_cancellation_is_refused(buyer: Buyer) -> None:
    buyer.subscribe_paid()

    with pytest.raises(Problem) as refused:
        meet(buyer.shop, canceling(buyer), upgrading(buyer), call="subscription_update")

    assert refused.value.code == "subscription.transition_refused"
    assert (buyer.state(), buyer.paid(), buyer.mails()) == (("FREE", "canceled"), MONTH, ["canceled"])
    buyer.assert_as_at_stripe()


def test_upgrade_before_the_cancellation_is_paid_and_ends(buyer: Buyer) -> None:
    buyer.subscribe_paid()

    meet(buyer.shop, upgrading(buyer), canceling(buyer), call="subscription_cancel")

    assert (buyer.state(), buyer.paid(), buyer.mails()) == (("FREE", "canceled"), ENTERPRISE, ["canceled"])
    buyer.assert_as_at_stripe()
