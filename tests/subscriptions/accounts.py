"""Accounts with plans, and short names for what features ask of them."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from audifi.core.db.database import Database, Transaction
from audifi.core.http.problems import Problem
from audifi.core.invariants import check
from audifi.subscriptions import entitlements, grants
from audifi.subscriptions.invariants import INVARIANTS
from audifi.subscriptions.plans import LimitKey, PaidPlan
from tests.support import databases
from tests.support.clients import Client

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)


def give_plan(database_url: str, user_id: object, plan: PaidPlan = "PRO") -> None:
    """Grant an account a plan for all times that tests move to."""
    databases.execute(
        database_url,
        "INSERT INTO plan_grants (id, user_id, plan, reason, starts_at, ends_at) VALUES"
        f" (gen_random_uuid(), '{user_id}', '{plan}', 'A test', '2000-01-01', '2100-01-01')",
    )


def with_plan(database_url: str, client: Client, plan: PaidPlan = "PRO") -> Client:
    """Grant a signed-in account a plan."""
    give_plan(database_url, client.tokens["user"]["id"], plan)
    return client


def run[T](url: str, act: Callable[[Database], Awaitable[T]]) -> T:
    """Run a test's coroutine on connection pools, and check the invariants when it has ended."""

    async def with_pools() -> T:
        async with databases.connect_pools(url, database_pool_timeout_seconds=60) as database:
            result = await act(database)
            assert await violations(database) == []
            return result

    return asyncio.run(with_pools())


async def violations(database: Database) -> list[str]:
    async with database.connection() as connection:
        return [violation.invariant.name for violation in await check(connection, INVARIANTS)]


async def new_user(database: Database) -> UUID:
    user_id = uuid4()
    await database.fetch_sql(
        "INSERT INTO users (id, email, email_key, created_at) VALUES ($1, $2, $2, $3)", user_id, f"{user_id}@e.org", NOW
    )
    return user_id


async def granted(database: Database, user_id: UUID, plan: PaidPlan = "PRO", *, days: int = 30) -> UUID:
    async with database.transaction() as tx:
        row = await grants.grant(
            tx, user_id=user_id, plan=plan, reason="A test", ends_at=NOW + timedelta(days=days), now=NOW
        )
    return row.id


async def subscribed(
    database: Database, user_id: UUID, plan: PaidPlan = "PRO", *, version: int = 1, **values: Any
) -> None:
    """Insert a subscription as a sync would."""
    price = f"price_{uuid4().hex}"
    await database.fetch_sql(
        "INSERT INTO plan_prices (price_id, plan, interval, currency, unit_amount, entitlements_version, active)"
        " VALUES ($1, $2, 'month', 'USD', 2900, $3, false)",
        price,
        plan,
        version,
    )
    columns = {
        "id": uuid4(),
        "user_id": user_id,
        "provider_id": f"sub_{uuid4().hex}",
        "plan": plan,
        "interval": "month",
        "price_id": price,
        "status": "active",
        "period_start": NOW,
        "period_end": NOW + timedelta(days=30),
        "cancel_at_period_end": False,
        "access_until": NOW + timedelta(days=33),
        "version": 1,
        "synced_at": NOW,
    } | values
    places = ", ".join(f"${place}" for place in range(1, len(columns) + 1))
    await database.fetch_sql(f"INSERT INTO subscriptions ({', '.join(columns)}) VALUES ({places})", *columns.values())
    await database.fetch_sql(
        "INSERT INTO invoices (id, provider_id, user_id, subscription_id, status, currency, subtotal, tax, total, paid,"
        " tax_paid, attempts, period_start, period_end)"
        " SELECT gen_random_uuid(), 'in_' || id, user_id, id, 'paid', 'USD', 0, 0, 0, 0, 0, 1, period_start, period_end"
        " FROM subscriptions WHERE id = $1",
        columns["id"],
    )


async def using(tx: Transaction, user_id: UUID, ref: UUID, *, key: LimitKey = "masters", at: datetime = NOW) -> None:
    await entitlements.use(tx, user_id=user_id, key=key, ref=ref, now=at)


async def use(
    database: Database, user_id: UUID, ref: UUID | None = None, *, key: LimitKey = "masters", at: datetime = NOW
) -> dict[str, Any] | None:
    """Use a limit in a transaction of its own; return the members of the refusal, or None."""
    try:
        async with database.transaction() as tx:
            await using(tx, user_id, ref or uuid4(), key=key, at=at)
    except Problem as problem:
        return {"code": f"{problem.status} {problem.code}"} | problem.extensions
    return None


async def release(
    database: Database, user_id: UUID, ref: UUID, *, key: LimitKey = "masters", at: datetime = NOW
) -> None:
    async with database.transaction() as tx:
        await entitlements.release(tx, user_id=user_id, key=key, ref=ref, now=at)


async def used(database: Database, user_id: UUID) -> list[int]:
    rows = await database.fetch_sql("SELECT used FROM usage_counters WHERE user_id = $1 ORDER BY key, period", user_id)
    return [row[0] for row in rows]
