"""Disputes: whatever the order of the reports, the money ends where it belongs."""

from itertools import permutations
from typing import Any
from uuid import uuid4

import pytest

from audifi.core.db.database import Database
from audifi.funding.deposits import DepositRow
from audifi.funding.models import DisputeStatus
from tests.funding.fundings import balances, disputing, funded, requesting, rows, run, spend
from tests.ledger.ledgers import code_of

STATUSES: tuple[DisputeStatus, ...] = ("open", "lost", "won")
ORDERS = [order for length in (1, 2, 3) for order in permutations(STATUSES, length)]
ENDS = {"open": ("disputed", 1500), "lost": ("lost", 1500), "won": ("succeeded", 2500)}


@pytest.mark.parametrize("order", ORDERS, ids="-".join)
def test_reports_in_any_order_end_the_same(funding_url: str, order: tuple[DisputeStatus, ...]) -> None:
    """The highest status decides; each report also arrives a second time, and all of them once more."""

    async def act(database: Database) -> Any:
        user_id, deposit = await funded(database, 2500)
        reference = str(uuid4())
        for status in [status for each in order for status in (each, each)] + list(order):
            deposit = await database.run(disputing(deposit, status, 1000, reference))
        return deposit.status, await balances(database, user_id)

    highest = max(order, key=STATUSES.index)
    status, balance = ENDS[highest]
    assert run(funding_url, act) == (status, (balance, 0, 0))


@pytest.mark.parametrize("order", ORDERS, ids="-".join)
def test_reports_after_spending_end_without_loss(funding_url: str, order: tuple[DisputeStatus, ...]) -> None:
    async def act(database: Database) -> Any:
        user_id, deposit = await funded(database, 2500)
        await spend(database, user_id, 2100)
        reference = str(uuid4())
        for status in order:
            await database.run(disputing(deposit, status, 1000, reference))
        return await balances(database, user_id)

    assert run(funding_url, act) == ((400, 0, 0) if "won" in order else (0, 0, -600))


def test_dispute_takes_nothing_that_is_held(funding_url: str) -> None:
    async def act(database: Database) -> Any:
        user_id, deposit = await funded(database, 2500)
        await database.run(requesting(user_id, 2000))
        await database.run(disputing(deposit, "open", 1000, str(uuid4())))
        return await balances(database, user_id)

    assert run(funding_url, act) == (2000, 2000, -500)


def test_disputes_of_a_deposit_are_summed(funding_url: str) -> None:
    async def act(database: Database) -> Any:
        user_id, deposit = await funded(database, 2500)
        first, second, third = (str(uuid4()) for _ in range(3))
        await database.run(disputing(deposit, "open", 1000, first))
        both = await database.run(disputing(deposit, "lost", 1500, second))
        before = await rows(database)
        refused = await code_of(database.run(disputing(deposit, "open", 1, third)))
        assert await rows(database) == before
        after_win = await database.run(disputing(deposit, "won", 1000, first))
        await database.run(disputing(deposit, "open", 1, third))
        return both.status, both.disputed, refused, after_win.status, await balances(database, user_id)

    assert run(funding_url, act) == ("disputed", 2500, "409 dispute.amount_exceeded", "lost", (999, 0, 0))


def test_dispute_needs_its_succeeded_deposit(funding_url: str) -> None:
    async def act(database: Database) -> Any:
        user_id, deposit = await funded(database, 2500)
        _, other = await funded(database, 2500)
        await database.run(disputing(other, "open", 100, "of another"))
        reference = str(uuid4())
        await database.fetch_sql(
            "INSERT INTO deposits (id, user_id, provider, provider_ref, currency, amount, status, created_at)"
            " SELECT gen_random_uuid(), user_id, provider, $2, currency, amount, 'pending', created_at"
            " FROM deposits WHERE id = $1",
            deposit.id,
            reference,
        )
        before = await rows(database)

        def with_reference(provider_ref: str) -> DepositRow:
            return DepositRow(
                deposit.id, user_id, "operator", provider_ref, "USD", 2500, "succeeded", 0, deposit.created_at
            )

        codes = [
            await code_of(database.run(disputing(with_reference("unknown"), "open", 1, "x"))),
            await code_of(database.run(disputing(with_reference(reference), "open", 1, "x"))),
            await code_of(database.run(disputing(deposit, "open", 100, "of another"))),
        ]
        assert await rows(database) == before
        return codes

    assert run(funding_url, act) == [
        "404 deposit.not_found",
        "409 deposit.not_succeeded",
        "409 provider_reference.reused",
    ]
