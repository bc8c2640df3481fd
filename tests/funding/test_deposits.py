"""Deposits as a provider reports them."""

from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest

from audifi.core.db.database import Database
from audifi.funding import deposits
from audifi.funding.deposits import Attribution
from tests.funding.fundings import balances, depositing, disputing, funded, new_user, receipt, rows, run, spend
from tests.ledger.ledgers import NOW, available, code_of, freeze


def test_deposit_is_credited_once_per_reference(funding_url: str) -> None:
    async def act(database: Database) -> Any:
        money = receipt(await new_user(database), 2500)
        first = await database.run(depositing(money))
        before = await rows(database)
        assert await database.run(depositing(money)) == first
        assert await rows(database) == before
        return first.status, await balances(database, money.user_id)

    assert run(funding_url, act) == ("succeeded", (2500, 0, 0))


@pytest.mark.parametrize("changed", ["amount", "currency", "user_id"])
def test_reference_of_another_deposit_is_refused(funding_url: str, changed: str) -> None:
    async def act(database: Database) -> Any:
        user_id, deposit = await funded(database, 2500)
        others: dict[str, Any] = {"amount": 2501, "currency": "EUR", "user_id": await new_user(database)}
        before = await rows(database)
        other = replace(receipt(user_id, 2500, deposit.provider_ref), **{changed: others[changed]})
        code = await code_of(database.run(depositing(other)))
        assert await rows(database) == before
        return code

    assert run(funding_url, act) == "409 provider_reference.reused"


def test_reference_is_of_its_provider(funding_url: str) -> None:
    async def act(database: Database) -> Any:
        user_id, deposit = await funded(database, 2500)
        await database.run(depositing(receipt(user_id, 100, deposit.provider_ref, provider="development")))
        return (await balances(database, user_id))[0]

    assert run(funding_url, act) == 2600


@pytest.mark.parametrize("status", ["pending", "failed"])
def test_deposit_that_was_known_before_succeeds(funding_url: str, status: str) -> None:
    async def act(database: Database) -> Any:
        money = receipt(await new_user(database), 2500)
        await database.fetch_sql(
            "INSERT INTO deposits (id, user_id, provider, provider_ref, currency, amount, status, created_at)"
            " VALUES ($1, $2, 'operator', $3, 'USD', 2500, $4, $5)",
            *(uuid4(), money.user_id, money.reference, status, NOW),
        )
        deposit = await database.run(depositing(money))
        return deposit.status, (await balances(database, money.user_id))[0]

    assert run(funding_url, act) == ("succeeded", 2500)


def test_deposit_pays_debt_first(funding_url: str) -> None:
    async def act(database: Database) -> Any:
        user_id, deposit = await funded(database, 2500)
        await spend(database, user_id, 2000)
        await database.run(disputing(deposit, "open", 2500, "d-first"))
        assert await balances(database, user_id) == (0, 0, -2000)
        seen = []
        for amount in (1500, 700):
            await database.run(depositing(receipt(user_id, amount)))
            seen.append(await balances(database, user_id))
        return seen

    assert run(funding_url, act) == [(0, 0, -500), (200, 0, 0)]


def test_frozen_account_still_receives(funding_url: str) -> None:
    async def act(database: Database) -> Any:
        user_id, _ = await funded(database, 2500)
        await freeze(database, available(user_id))
        await database.run(depositing(receipt(user_id, 100)))
        return (await balances(database, user_id))[0]

    assert run(funding_url, act) == 2600


def test_booking_for_nobody_is_refused(funding_url: str) -> None:
    async def act(database: Database) -> Any:
        before = await rows(database)

        async def book(user_id: Any) -> None:
            async with database.transaction() as transaction:
                await deposits.book(transaction, receipt=receipt(user_id, 100), now=NOW, by=Attribution())

        deleted = await new_user(database)
        await database.fetch_sql("UPDATE users SET deleted_at = $2 WHERE id = $1", deleted, NOW)
        codes = {await code_of(book(uuid4())), await code_of(book(deleted))}
        assert await rows(database) == before
        return codes

    assert run(funding_url, act) == {"422 request.invalid"}
