"""Short names for what providers report and accounts ask for."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID, uuid4

from audifi.core.db.database import Database, Transaction
from audifi.core.invariants import check
from audifi.funding import deposits, disputes, payouts
from audifi.funding.deposits import DepositRow, Receipt
from audifi.funding.disputes import DisputeReport
from audifi.funding.invariants import INVARIANTS as OF_FUNDING
from audifi.funding.models import DisputeStatus
from audifi.funding.payouts import PayoutRow
from audifi.ledger.accounts import user_account
from audifi.ledger.invariants import INVARIANTS as OF_THE_LEDGER
from tests.ledger import ledgers
from tests.ledger.ledgers import NOW
from tests.support import databases

type Step = Callable[[Transaction], Awaitable[Any]]

TABLES = ("deposits", "deposit_disputes", "payouts", "ledger_holds", "ledger_transfers", "ledger_entries")


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
        broken = await check(connection, (*OF_THE_LEDGER, *OF_FUNDING))
    return [f"{violation.invariant.name}: {violation.examples}" for violation in broken]


async def new_user(database: Database) -> UUID:
    user_id = uuid4()
    address = f"{user_id}@example.com"
    await database.fetch_sql(
        "INSERT INTO users (id, email, email_key, created_at) VALUES ($1, $2, $2, $3)", user_id, address, NOW
    )
    return user_id


def receipt(user_id: UUID, amount: int, reference: str | None = None, *, provider: str = "operator") -> Receipt:
    return Receipt(
        provider=provider, reference=reference or str(uuid4()), user_id=user_id, currency="USD", amount=amount
    )


def depositing(money: Receipt) -> Step:
    async def step(transaction: Transaction) -> DepositRow:
        return await deposits.deposit_succeeded(transaction, receipt=money, now=NOW)

    return step


def disputing(deposit: DepositRow, status: DisputeStatus, amount: int, reference: str) -> Step:
    report = DisputeReport(
        provider=deposit.provider,
        deposit_reference=deposit.provider_ref,
        reference=reference,
        status=status,
        amount=amount,
    )

    async def step(transaction: Transaction) -> DepositRow:
        return await disputes.dispute_reported(transaction, report=report, now=NOW)

    return step


def requesting(user_id: UUID, amount: int, currency: str = "USD") -> Step:
    async def step(transaction: Transaction) -> PayoutRow:
        return await payouts.request(
            transaction, user_id=user_id, provider=None, currency=currency, amount=amount, now=NOW
        )

    return step


def canceling(payout: PayoutRow) -> Step:
    async def step(transaction: Transaction) -> PayoutRow:
        return await payouts.cancel(transaction, payout_id=payout.id, user_id=payout.user_id, now=NOW)

    return step


def changing(change: Callable[..., Awaitable[PayoutRow]], payout: PayoutRow) -> Step:
    async def step(transaction: Transaction) -> PayoutRow:
        return await change(transaction, payout_id=payout.id, now=NOW)

    return step


def submitting(payout: PayoutRow) -> Step:
    return changing(payouts.submit, payout)


def paying(payout: PayoutRow) -> Step:
    return changing(payouts.payout_paid, payout)


def failing(payout: PayoutRow) -> Step:
    return changing(payouts.payout_failed, payout)


async def funded(database: Database, amount: int) -> tuple[UUID, DepositRow]:
    """Make a user with a deposit."""
    user_id = await new_user(database)
    return user_id, await database.run(depositing(receipt(user_id, amount)))


async def balances(database: Database, user_id: UUID) -> tuple[int, int, int]:
    """Return what the user has, what is held of it, and what the user owes."""
    posted, held = await ledgers.balance(database, ledgers.available(user_id))
    return posted, held, (await ledgers.balance(database, user_account(user_id, "debt", "USD")))[0]


async def spend(database: Database, user_id: UUID, amount: int) -> None:
    await ledgers.move(database, ledgers.available(user_id), ledgers.available(uuid4()), amount)


async def rows(database: Database) -> dict[str, int]:
    """Return how many rows each table has."""
    [row] = await database.fetch_sql(
        "SELECT " + ", ".join(f"(SELECT count(*) FROM {name}) AS {name}" for name in TABLES)
    )
    return dict(row)


def booking_own(user_id: UUID, amount: int) -> Step:
    async def step(transaction: Transaction) -> DepositRow:
        return await deposits.book_own(transaction, user_id=user_id, currency="USD", amount=amount, now=NOW)

    return step
