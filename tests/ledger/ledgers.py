"""A ledger to test: a database, and short names for what it does."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from audifi.core.db.database import Database, Transaction
from audifi.core.http.problems import Problem
from audifi.core.invariants import check
from audifi.ledger import service
from audifi.ledger.accounts import AccountRef, provider_account, user_account
from audifi.ledger.invariants import INVARIANTS
from audifi.ledger.service import NewTransfer, OpenHold, PostedTransfer, Posting
from tests.support import databases

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)


def external(asset: str = "USD") -> AccountRef:
    return provider_account("operator", "external", asset)


def available(user_id: UUID, asset: str = "USD") -> AccountRef:
    return user_account(user_id, "available", asset)


def run[T](url: str, act: Callable[[Database], Awaitable[T]], *, size: int = 5) -> T:
    """Run a test's coroutine on connection pools, and check the invariants when it has ended."""

    async def with_pools() -> T:
        async with databases.connect_pools(url, size=size, database_pool_timeout_seconds=60) as database:
            result = await act(database)
            assert await violations(database) == []
            return result

    return asyncio.run(with_pools())


async def violations(database: Database) -> list[str]:
    async with database.connection() as connection:
        return [violation.invariant.name for violation in await check(connection, INVARIANTS)]


async def post(
    database: Database,
    *postings: tuple[AccountRef, int],
    key: str | None = None,
    kind: str = "adjustment",
    now: datetime = NOW,
    **values: Any,
) -> PostedTransfer:
    async with database.transaction() as transaction:
        return await post_in(transaction, *postings, key=key, kind=kind, now=now, **values)


async def post_in(
    transaction: Transaction,
    *postings: tuple[AccountRef, int],
    key: str | None = None,
    kind: str = "adjustment",
    now: datetime = NOW,
    **values: Any,
) -> PostedTransfer:
    transfer = NewTransfer(
        kind=kind, key=key or str(uuid4()), postings=[Posting(*posting) for posting in postings], **values
    )
    return await service.post(transaction, transfer=transfer, now=now)


async def deposit(database: Database, account: AccountRef, amount: int, **values: Any) -> PostedTransfer:
    return await post(database, (account, amount), (external(account.asset), -amount), **values)


async def move(
    database: Database, source: AccountRef, target: AccountRef, amount: int, **values: Any
) -> PostedTransfer:
    return await post(database, (source, -amount), (target, amount), **values)


async def hold(
    database: Database, account: AccountRef, amount: int, *, key: str | None = None, expires_at: datetime = LATER
) -> OpenHold:
    async with database.transaction() as transaction:
        return await service.hold(
            transaction,
            account=account,
            amount=amount,
            purpose="payout",
            key=key or str(uuid4()),
            expires_at=expires_at,
            now=NOW,
        )


async def void(database: Database, hold_id: UUID, *, now: datetime = NOW) -> None:
    async with database.transaction() as transaction:
        await service.void_hold(transaction, hold_id=hold_id, now=now)


async def reverse(database: Database, transfer_id: UUID, **values: Any) -> PostedTransfer:
    async with database.transaction() as transaction:
        return await service.reverse(transaction, transfer_id=transfer_id, reason="a mistake", now=NOW, **values)


async def balance(database: Database, account: AccountRef) -> tuple[int, int]:
    """Return what is posted, over all stripes, and what is held."""
    pattern = account.address.replace("*", "%").rpartition("/")[0]
    rows = await database.fetch_sql(
        "SELECT coalesce(sum(posted), 0)::bigint, coalesce(sum(held), 0)::bigint FROM ledger_accounts AS a"
        " JOIN ledger_assets ON ledger_assets.id = asset_id"
        " WHERE concat_ws('/', owner_kind, coalesce(owner_id::text, ''), purpose, code) = $1",
        pattern,
    )
    return rows[0][0], rows[0][1]


async def code_of(refused: Awaitable[Any]) -> str:
    with pytest.raises(Problem) as raised:
        await refused
    return f"{raised.value.status} {raised.value.code}"


async def counts(database: Database) -> dict[str, int]:
    """Return how many rows each table of the ledger has."""
    tables = ("accounts", "transfers", "entries", "holds", "accruals", "assets")
    query = ", ".join(f"(SELECT count(*) FROM ledger_{table}) AS {table}" for table in tables)
    [row] = await database.fetch_sql(f"SELECT {query}")
    return dict(row)


def is_refused(sqlstate: str) -> Any:
    """Expect PostgreSQL to raise this SQLSTATE."""
    return pytest.raises(asyncpg.PostgresError, check=lambda error: error.sqlstate == sqlstate)


async def freeze(database: Database, account: AccountRef) -> None:
    await database.fetch_sql(
        "UPDATE ledger_accounts SET frozen_at = now() WHERE id = ledger_account_id_v1($1)", account.address
    )


async def thaw(database: Database, account: AccountRef) -> None:
    await database.fetch_sql(
        "UPDATE ledger_accounts SET frozen_at = NULL WHERE id = ledger_account_id_v1($1)", account.address
    )
