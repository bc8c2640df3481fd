"""Transfers: what is posted, and what is refused."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from audifi.core.config.validators import CURRENCIES
from audifi.core.db.database import Database
from audifi.core.http.problems import Problem
from audifi.ledger import problems, service
from audifi.ledger.accounts import AccountRef, platform_account, provider_account, share_asset, user_account
from tests.ledger.ledgers import (
    NOW,
    available,
    balance,
    code_of,
    counts,
    deposit,
    external,
    freeze,
    is_refused,
    move,
    post,
    reverse,
    run,
)

MAX = 2**53 - 1


def test_transfer_moves_money_and_opens_accounts(ledger_url: str) -> None:
    async def act(database: Database) -> Any:
        ana, ben = available(uuid4()), available(uuid4())
        await deposit(database, ana, 100)
        await post(database, (ana, -40), (ben, 36), (platform_account("fees", "USD"), 4))
        return [await balance(database, each) for each in (ana, ben, platform_account("fees", "USD"))]

    assert run(ledger_url, act) == [(60, 0), (36, 0), (4, 0)]


def test_unsupported_currency_is_named() -> None:
    [error] = problems.currency_unsupported().errors

    assert (error.code, error.pointer) == ("currency_unsupported", "/currency")


def test_each_currency_of_the_settings_has_an_asset(ledger_url: str) -> None:
    async def act(database: Database) -> Any:
        return await database.fetch_sql("SELECT code FROM ledger_assets WHERE kind = 'currency'")

    assert {row[0] for row in run(ledger_url, act)} == CURRENCIES


def test_postings_to_one_account_are_netted(ledger_url: str) -> None:
    async def act(database: Database) -> Any:
        ana, ben = available(uuid4()), available(uuid4())
        entries = (await counts(database))["entries"]
        await post(database, (ana, 70), (external(), -100), (ana, 30), (ben, 5), (ben, -5))
        return await balance(database, ana), (await counts(database))["entries"] - entries

    assert run(ledger_url, act) == ((100, 0), 2)


def test_same_key_returns_the_first_transfer(ledger_url: str) -> None:
    async def act(database: Database) -> Any:
        ana = available(uuid4())
        key = str(uuid4())
        first = await deposit(database, ana, 100, key=key)
        again = await deposit(database, ana, 100, key=key, now=NOW + timedelta(days=1), reference="another")
        assert (first.is_replay, again.is_replay) == (False, True)
        assert first.transfer_id == again.transfer_id
        other_amount = await code_of(deposit(database, ana, 101, key=key))
        other_kind = await code_of(deposit(database, ana, 100, key=key, kind="gift"))
        return other_amount, other_kind, await balance(database, ana)

    reused = "409 transfer.key_reused"
    assert run(ledger_url, act) == (reused, reused, (100, 0))


def test_overdraft_is_refused_with_what_is_missing(ledger_url: str) -> None:
    async def act(database: Database) -> Any:
        ana, ben, key = available(uuid4()), available(uuid4()), str(uuid4())
        await deposit(database, ana, 100)
        before = await counts(database)
        with pytest.raises(Problem, check=lambda problem: problem.extensions == {"missing": 30}):
            await move(database, ana, ben, 130, key=key)
        assert await counts(database) == before  # the key, too
        await deposit(database, ana, 30)
        await move(database, ana, ben, 130, key=key)
        return await balance(database, ben)

    assert run(ledger_url, act) == (130, 0)


def test_frozen_account_receives_and_does_not_pay(ledger_url: str) -> None:
    async def act(database: Database) -> Any:
        ana, ben = available(uuid4()), available(uuid4())
        await deposit(database, ana, 100)
        await freeze(database, ana)
        await deposit(database, ana, 20)
        refused = await code_of(move(database, ana, ben, 1))
        await move(database, ana, external(), 50, allow_frozen=True)  # a chargeback
        return refused, await balance(database, ana)

    assert run(ledger_url, act) == ("403 account.frozen", (70, 0))


def test_balance_beyond_exact_integers_is_refused(ledger_url: str) -> None:
    async def act(database: Database) -> Any:
        ana, source = available(uuid4()), provider_account(str(uuid4()), "external", "USD")
        await move(database, source, ana, MAX)
        return await code_of(move(database, external(), ana, 1)), await balance(database, ana)

    assert run(ledger_url, act) == ("409 balance.limit_exceeded", (MAX, 0))


def test_striped_accounts_spread_over_rows(ledger_url: str) -> None:
    async def act(database: Database) -> Any:
        source = provider_account(str(uuid4()), "external", "USD")
        for _ in range(20):
            await move(database, source, available(uuid4()), 1)
        query = "SELECT count(*) FROM ledger_accounts WHERE owner_id = $1"
        [row] = await database.fetch_sql(query, source.owner_id)
        return row[0], await balance(database, source)

    rows, total = run(ledger_url, act)
    assert 3 < rows <= 16
    assert total == (-20, 0)


@pytest.mark.parametrize(
    "postings",
    [
        [("user", "available", "USD", 1)],
        [("user", "available", "USD", 1), ("provider", "external", "EUR", -1)],
        [("user", "available", "USD", 0)],
        [("user", "available", "XXX", 1), ("provider", "external", "XXX", -1)],
        [("user", "shares", "USD", 1), ("provider", "external", "USD", -1)],
        [("user", "offering", "USD", 1), ("provider", "external", "USD", -1)],
        [("user", "available", "USD", 1) for _ in range(64)] + [("provider", "external", "USD", -64)],
    ],
    ids=["unbalanced", "across assets", "nothing", "unknown asset", "kind of asset", "unknown purpose", "65 entries"],
)
def test_impossible_transfer_leaves_no_row(ledger_url: str, postings: list[tuple[Any, Any, str, int]]) -> None:
    async def act(database: Database) -> Any:
        before = await counts(database)
        refs = [(AccountRef(kind, uuid4(), purpose, asset), amount) for kind, purpose, asset, amount in postings]
        with is_refused("LG006"):
            await post(database, *refs)
        return before == await counts(database)

    assert run(ledger_url, act)


def test_transfer_needs_read_committed(ledger_url: str) -> None:
    async def act(database: Database) -> Any:
        async with database.connection() as connection, connection.transaction(isolation="repeatable_read"):
            with is_refused("LG006"):
                await connection.execute(
                    "SELECT ledger_post_v1(gen_random_uuid(), 'k', 'deposit', $1, $2, now())",
                    [available(uuid4()).address, external().address],
                    [1, -1],
                )

    run(ledger_url, act)


def test_history_never_goes_back_in_time(ledger_url: str) -> None:
    async def act(database: Database) -> Any:
        ana = available(uuid4())
        await deposit(database, ana, 1)
        await deposit(database, ana, 1, now=NOW - timedelta(hours=1), occurred_at=NOW - timedelta(days=3))
        rows = await database.fetch_sql(
            "SELECT posted_at, occurred_at FROM ledger_entries JOIN ledger_transfers ON id = transfer_id"
            " WHERE account_id = ledger_account_id_v1($1) ORDER BY version",
            ana.address,
        )
        return [tuple(row) for row in rows]

    assert run(ledger_url, act) == [(NOW, NOW), (NOW, NOW - timedelta(days=3))]


def test_reversal_undoes_a_transfer_once(ledger_url: str) -> None:
    async def act(database: Database) -> Any:
        ana = available(uuid4())
        deposited = await deposit(database, ana, 100)
        reversal = await reverse(database, deposited.transfer_id, operator="kim")
        assert await balance(database, ana) == (0, 0)
        [row] = await database.fetch_sql(
            "SELECT operator, reason FROM ledger_transfers WHERE id = $1", reversal.transfer_id
        )
        assert tuple(row) == ("kim", "a mistake")
        return [
            await code_of(reverse(database, deposited.transfer_id)),
            await code_of(reverse(database, reversal.transfer_id)),
            await code_of(reverse(database, uuid4())),
        ]

    assert run(ledger_url, act) == [
        "409 transfer.already_reversed",
        "409 transfer.is_reversal",
        "404 transfer.not_found",
    ]


def test_reversal_of_spent_money_is_refused(ledger_url: str) -> None:
    async def act(database: Database) -> Any:
        ana, ben = available(uuid4()), available(uuid4())
        deposited = await deposit(database, ana, 100)
        await move(database, ana, ben, 60)
        before = await counts(database)
        refused = await code_of(reverse(database, deposited.transfer_id))
        return refused, before == await counts(database)

    assert run(ledger_url, act) == ("409 balance.insufficient", True)


def test_transfer_of_shares_is_not_reversed(ledger_url: str) -> None:
    async def act(database: Database) -> Any:
        ipo_id = uuid4()
        shares = share_asset(ipo_id)
        for _ in range(2):  # the second time it is there
            async with database.transaction() as transaction:
                await service.open_asset(transaction, code=shares, kind="share")
        issued = await move(
            database, AccountRef("ipo", ipo_id, "issuance", shares), user_account(uuid4(), "shares", shares), 10
        )
        return await code_of(reverse(database, issued.transfer_id))

    assert run(ledger_url, act) == "409 transfer.not_reversible"


def test_reversal_leaves_deposits_and_payouts_to_their_own_undo(ledger_url: str) -> None:
    async def act(database: Database) -> Any:
        deposited = await deposit(database, available(uuid4()), 5, kind="dispute_won")
        return await code_of(reverse(database, deposited.transfer_id))

    assert run(ledger_url, act) == "409 transfer.not_reversible"
