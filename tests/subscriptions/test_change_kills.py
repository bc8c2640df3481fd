"""The server is killed within a change or an end, and the events are lost: what is left is reconciled, or repeated."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Any
from uuid import uuid4

import pytest

from audifi.app import FEATURES
from audifi.auth import service as auth
from audifi.auth.context import AuthContext
from audifi.core.http.client_info import ClientInfo
from audifi.core.http.problems import Problem
from audifi.payments import syncs
from audifi.payments.reconciliation import read_events
from audifi.services import Services
from audifi.subscriptions import changes, ends
from tests.payments.processes import is_killed, process
from tests.payments.shops import Shop
from tests.subscriptions.buying import ENTERPRISE, MONTH, Buyer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

LAST = 20
"""More than the steps of a change."""
DURABLE = ("COMMIT", "WITH sync")
"""What begins so outlives the process, as calls to Stripe do. A kill elsewhere is the same as one after the last."""

READ_UP_TO = """
    INSERT INTO provider_cursors (name, position) VALUES ('events', '{}')
    ON CONFLICT (name) DO UPDATE SET position = excluded.position
"""

type Work = Callable[[Services], Awaitable[Any]]


@pytest.fixture
def shop(shop: Shop) -> Shop:
    """The shop; the reconciliation reads only the events of this test."""
    shop.advance(hours=1.1)
    shop.execute(READ_UP_TO.format(shop.app.clock()))
    return shop


async def kill_each_step(shop: Shop, prepare: Callable[[Buyer], Work], check: Callable[[Buyer], None]) -> None:
    """Kill work after each of its steps, reconcile, and compare with Stripe; do it again, as the client does."""
    for steps in range(LAST):
        buyer = await asyncio.to_thread(Buyer, shop)
        work = await asyncio.to_thread(prepare, buyer)
        shop.stand_in.do("disturb", lose=10_000)
        was_killed = await is_killed(shop, steps, work, statements=DURABLE)
        shop.stand_in.do("disturb")
        async with process(shop) as services:
            await read_events(services)
            await asyncio.to_thread(shop.settle)
            await asyncio.to_thread(buyer.assert_as_at_stripe)
            with suppress(Problem):  # it was done, and says so
                await work(services)
        await asyncio.to_thread(shop.settle)
        await asyncio.to_thread(buyer.assert_as_at_stripe)
        await asyncio.to_thread(check, buyer)
        if not was_killed:
            assert steps > 2
            return
    raise AssertionError("the work has more steps than this test tries")


def changing(buyer: Buyer, plan: Any, **agreed: Any) -> Work:
    key, agreed = str(uuid4()), {"expected_due": None, "proration_at": None} | agreed

    async def work(services: Services) -> None:
        now = services.clock()
        await changes.change(services, user_id=buyer.user_id, plan=plan, interval="month", key=key, now=now, **agreed)

    return work


def canceling(buyer: Buyer, *, at_once: bool) -> Work:
    async def work(services: Services) -> None:
        await changes.cancel(services, user_id=buyer.user_id, at_once=at_once)

    return work


def past_due(buyer: Buyer) -> None:
    """Let the trial end, and its charge fail: an invoice is open."""
    buyer.subscribe(card="pm_card_chargeCustomerFail")
    buyer.shop.execute("UPDATE trial_uses SET card_hash = NULL")
    buyer.shop.stripe.v1.subscriptions.update(buyer.subscription().id, {"trial_end": "now"})
    buyer.shop.settle()
    assert buyer.state() == ("PRO", "past_due")


def test_killed_upgrade_is_charged_once(shop: Shop) -> None:
    def prepare(buyer: Buyer) -> Work:
        buyer.subscribe_paid()
        seen = buyer.preview("ENTERPRISE", "month")
        at = datetime.fromisoformat(seen["proration_at"])
        return changing(buyer, "ENTERPRISE", expected_due=seen["amount_due"], proration_at=at)

    def check(buyer: Buyer) -> None:
        assert (buyer.state(), buyer.paid()) == (("ENTERPRISE", "active"), ENTERPRISE)
        assert len(buyer.invoices()) == 2

    asyncio.run(kill_each_step(shop, prepare, check))


def test_killed_downgrade_is_planned_once(shop: Shop) -> None:
    def check(buyer: Buyer) -> None:
        pending = buyer.get()["subscription"]["pending"]
        assert (buyer.state(), pending["plan"]) == (("ENTERPRISE", "active"), "PRO")
        assert buyer.subscription().schedule

    def prepare(buyer: Buyer) -> Work:
        buyer.subscribe_paid("ENTERPRISE")
        return changing(buyer, "PRO")

    asyncio.run(kill_each_step(shop, prepare, check))


def test_killed_cancellation_replaces_the_downgrade(shop: Shop) -> None:
    def prepare(buyer: Buyer) -> Work:
        buyer.subscribe_paid("ENTERPRISE")
        buyer.change("PRO", "month")
        return canceling(buyer, at_once=False)

    def check(buyer: Buyer) -> None:
        subscription = buyer.get()["subscription"]
        assert (subscription["cancel_at_period_end"], subscription["pending"]) == (True, None)
        assert buyer.mails() == []

    asyncio.run(kill_each_step(shop, prepare, check))


def test_killed_reactivation_is_done(shop: Shop) -> None:
    def prepare(buyer: Buyer) -> Work:
        buyer.subscribe_paid()
        buyer.cancel()

        async def work(services: Services) -> None:
            await changes.reactivate(services, user_id=buyer.user_id)

        return work

    def check(buyer: Buyer) -> None:
        assert buyer.column("status = 'active' AND NOT cancel_at_period_end AND access_until > period_end")

    asyncio.run(kill_each_step(shop, prepare, check))


def test_killed_cancellation_now_voids_what_is_open(shop: Shop) -> None:
    def prepare(buyer: Buyer) -> Work:
        past_due(buyer)
        return canceling(buyer, at_once=True)

    asyncio.run(kill_each_step(shop, prepare, check_ended))


def test_killed_end_voids_the_draft(shop: Shop) -> None:
    """It was canceled within the hour in which the invoice of the renewal is a draft."""

    def prepare(buyer: Buyer) -> Work:
        buyer.subscribe_paid()
        subscription, period_end = buyer.subscription().id, buyer.column("period_end")
        shop.stand_in.do("disturb", lose=10_000)
        shop.move_clocks(int((period_end - shop.app.clock()).total_seconds()) + 60)
        shop.stripe.v1.subscriptions.cancel(subscription)

        async def work(services: Services) -> None:
            await ends.jobs(services).handler(f"ended {subscription}".encode())

        return work

    asyncio.run(kill_each_step(shop, prepare, partial(check_ended, paid=MONTH)))


def test_killed_deletion_of_an_account_ends_the_plan(shop: Shop) -> None:
    def prepare(buyer: Buyer) -> Work:
        past_due(buyer)
        buyer.cancel()
        customer, email = buyer.customer(), buyer.client.email

        async def work(services: Services) -> None:
            context = AuthContext(
                database=services.database,
                now=services.clock(),
                client=ClientInfo(ip=None, user_agent="test"),
                keys=services.keys,
                revoked=services.revoked_sessions,
            )
            guards = [feature.deletion_guard for feature in FEATURES if feature.deletion_guard]
            await auth.delete_user(context, user_id=buyer.user_id, email_key=email, guards=guards)
            await syncs.run_sync(services, kind="customer", provider_id=customer)

        return work

    def check(buyer: Buyer) -> None:
        check_ended(buyer)
        assert buyer.shop.stripe.v1.customers.retrieve(buyer.customer()).deleted
        assert buyer.shop.value("SELECT deleted_at FROM provider_customers WHERE user_id = $1", buyer.user_id)

    asyncio.run(kill_each_step(shop, prepare, check))


def check_ended(buyer: Buyer, *, paid: int = 0) -> None:
    assert buyer.column("status || ' ' || (access_until <= synced_at)") == "canceled true"
    assert [invoice.status for invoice in buyer.invoices()] == ["void", "paid"]
    assert (buyer.mails(), buyer.paid()) == (["canceled"], paid)
