"""Reconciliation finds missed events, and reports differences without booking them."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from audifi.core.telemetry.metrics import Metrics
from audifi.payments import balances, client, reconciliation
from audifi.payments.customers import customer_of
from audifi.payments.syncs import sync_now
from audifi.services import Services
from tests.masters.requests import make_admin
from tests.payments.processes import process
from tests.payments.shops import Shop
from tests.payments.test_refunds import deposit_of, refund
from tests.support.clients import Client


def run(shop: Shop, work: Callable[[Services], Awaitable[Any]]) -> Any:
    async def act() -> Any:
        async with process(shop) as services:
            return await work(services)

    result = asyncio.run(act())
    shop.settle()
    return result


def drift(metrics: Metrics, kind: str) -> float:
    """Return how many differences of a kind were counted."""
    return metrics.registry.get_sample_value("payments_drift_total", {"kind": kind}) or 0


async def check_balances(services: Services) -> float:
    """Run the nightly comparison; return how many differences it has counted."""
    await balances.book_fees(services)
    await balances.check(services, calm_seconds=0)
    return drift(services.metrics, "balance")


def test_lost_events_are_found_in_stripes_list(shop: Shop, fan: Client) -> None:
    run(shop, reconciliation.read_events)
    checkout_id = shop.opened(fan)
    shop.stand_in.do("disturb", lose=1000)
    shop.pay(checkout_id)
    shop.settle()
    assert shop.balance(fan) == 0
    assert run(shop, reconciliation.read_events) >= 1
    assert shop.balance(fan) == 5000
    assert run(shop, reconciliation.read_events) == 0


def test_event_behind_100_pages_is_found(shop: Shop, fan: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    run(shop, reconciliation.read_events)
    checkout_id = shop.opened(fan)
    shop.stand_in.do("disturb", lose=1000)
    shop.pay(checkout_id)
    for _ in range(101):
        shop.stripe.v1.customers.create()
    monkeypatch.setattr(client, "PAGE", 1)
    run(shop, reconciliation.read_events)
    assert shop.balance(fan) == 5000


def test_cursor_moves_over_each_day_that_was_read(shop: Shop) -> None:
    """An interrupted run goes on with the next day, and leaves none out."""
    now, days = shop.app.clock(), timedelta(days=1)

    async def read_a_day_and_a_page(services: Services) -> Any:
        pages = reconciliation.new_pages(
            services,
            "event_list",
            lambda v1, parameters: v1.events.list_async(parameters),
            cursor="test",
            first=3 * days,
        )
        await anext(pages)
        await anext(pages)
        return await services.background_database.fetch_value(reconciliation.CURSOR, cursor_name="test")

    assert run(shop, read_a_day_and_a_page) == now - 2 * days
    assert run(shop, read_a_day_and_a_page) == now - days - reconciliation.OVERLAP


def test_nightly_look_finds_what_has_ended(shop: Shop, fan: Client) -> None:
    """Not even the list of events has it: it was made more than 30 days ago."""
    deposit_id = deposit_of(shop, shop.deposited(fan, card="pm_card_pendingRefund"))
    refund(fan, deposit_id, 2000)
    shop.dispute(deposit_of(shop, shop.deposited(fan, 3000)), amount=1000)
    won = shop.dispute(deposit_of(shop, shop.deposited(fan, 600)), amount=600)
    shop.stand_in.do("end_dispute", dispute=won, outcome="won")
    shop.settle()
    pending = shop.deposited(fan, 700, card="pm_sepa_succeeds")
    left_open = shop.opened(fan, 800)
    shop.stand_in.do("disturb", lose=1000)
    shop.advance(days=6)
    run(shop, reconciliation.look_at_unended)
    fan = shop.again(fan)
    assert shop.balance(fan) == 5000 - 2000 + 3000 - 1000 + 600 + 700
    items = fan.as_signed_in("GET", "/payments/history").json()["data"]
    assert {(item["type"], item["status"]) for item in items} == {
        ("deposit", "succeeded"),
        ("deposit", "disputed"),
        ("refund", "succeeded"),
        ("dispute", "open"),
        ("dispute", "won"),
    }
    assert pending
    assert shop.sync(fan, left_open).json()["status"] == "expired"


def test_ledger_equals_stripes_balance_to_the_cent(own_shop: Shop) -> None:
    fan = own_shop.fan()
    own_shop.deposited(fan, 500_000, card="pm_card_bypassPending")
    refund(fan, deposit_of(own_shop, own_shop.deposited(fan, 1000)), 400)
    refund(fan, deposit_of(own_shop, own_shop.deposited(fan, 2000, card="pm_card_pendingRefund")), 700)
    own_shop.settle()
    own_shop.stripe.v1.payouts.create({"amount": 100, "currency": "usd"})  # our own withdrawal
    assert run(own_shop, check_balances) == 0
    assert run(own_shop, check_balances) == 0
    admin = make_admin(own_shop.app.database_url, own_shop.fan())
    compared = admin.as_signed_in("GET", "/payments/reconciliation").json()["currencies"]
    assert {each["currency"]: each["difference"] for each in compared}["USD"] == 0


def test_difference_is_counted_and_not_booked(own_shop: Shop) -> None:
    fan = own_shop.fan()
    own_shop.deposited(fan, currency="EUR")  # no difference
    checkout_id = own_shop.opened(fan)
    own_shop.stand_in.do("disturb", lose=1000)
    own_shop.pay(checkout_id)
    assert run(own_shop, check_balances) == 1
    assert own_shop.balance(fan) == 0
    own_shop.sync(fan, checkout_id)
    assert run(own_shop, check_balances) == 0


def test_customer_of_a_deleted_account_is_deleted(shop: Shop, fan: Client) -> None:
    opened = fan.as_signed_in("POST", "/payments/portal", {"return_path": "/wallet"})
    assert opened.status_code == 201
    assert opened.json()["url"].startswith(shop.stand_in.url)
    user_id = fan.tokens["user"]["id"]
    customer = shop.value("SELECT provider_id FROM provider_customers WHERE user_id = $1::text::uuid", user_id)
    page = shop.opened(fan)
    refused = fan.as_signed_in("DELETE", "/auth/me")
    assert refused.json()["code"] == "account.not_empty"
    shop.advance(hours=1)
    fan = shop.again(fan)
    assert shop.sync(fan, page).json()["status"] == "expired"
    assert fan.as_signed_in("DELETE", "/auth/me").status_code == 204
    shop.settle()
    assert shop.stripe.v1.customers.retrieve(customer).deleted


def test_customer_that_was_deleted_is_made_anew(shop: Shop, fan: Client) -> None:
    user_id = UUID(fan.tokens["user"]["id"])
    first = run(shop, lambda services: customer_of(services, user_id))
    run(shop, lambda services: sync_now(services, kind="customer", provider_id=first))
    assert run(shop, lambda services: customer_of(services, user_id)) == first
    shop.stripe.v1.customers.delete(first)
    shop.settle()
    second = run(shop, lambda services: customer_of(services, user_id))
    assert second != first
    assert run(shop, lambda services: customer_of(services, user_id)) == second
