"""Deposits: money that a provider reports, or an operator saw, in the caller's transaction."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from sqlalchemy import BigInteger, bindparam, func, select, update
from sqlalchemy.dialects import postgresql
from uuid6 import uuid7

from audifi.auth.models import User
from audifi.auth.service import lock_user
from audifi.core.db.database import Transaction
from audifi.core.db.statements import Statement, parameters
from audifi.funding import problems
from audifi.funding.models import Deposit, DepositStatus
from audifi.ledger import service
from audifi.ledger.accounts import provider_account, user_account
from audifi.ledger.models import Asset
from audifi.ledger.service import NewTransfer, Posting

MAX_OWN_PER_DAY = 10_000
"""Units of a currency, not its base units."""

_deposits = Deposit.__table__


@dataclass(frozen=True, slots=True)
class DepositRow:
    id: UUID
    user_id: UUID
    provider: str
    provider_ref: str
    currency: str
    amount: int
    status: DepositStatus
    disputed: int
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribution:
    """Who reports it, for the audit; nobody, where a provider does."""

    actor_id: UUID | None = None
    operator: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """Money that came in."""

    provider: str
    reference: str
    """The provider's id of it; at most 100 characters."""
    user_id: UUID
    currency: str
    amount: int
    occurred_at: datetime | None = None
    """When it came in; None: now."""


COLUMNS = [_deposits.c[name] for name in DepositRow.__dataclass_fields__]
RECORD = Statement(
    postgresql.insert(_deposits)
    .values(parameters("id", "user_id", "provider", "provider_ref", "currency", "amount", "created_at"))
    .values(status="pending")
    .on_conflict_do_nothing(index_elements=["provider", "provider_ref"])
)
LOCK = Statement(
    select(*COLUMNS)
    .where(_deposits.c.provider == bindparam("provider"), _deposits.c.provider_ref == bindparam("provider_ref"))
    .with_for_update()
)
SUCCEED = Statement(
    update(_deposits)
    .where(_deposits.c.id == bindparam("deposit_id"))
    .values(status="succeeded", transfer_id=bindparam("new_transfer_id"))
    .returning(*COLUMNS)
)
FAIL = Statement(
    update(_deposits).where(_deposits.c.id == bindparam("deposit_id")).values(status="failed").returning(*COLUMNS)
)
LOCK_ACCOUNT = Statement(
    select(User.id)
    .where(User.id == bindparam("user_id"), User.deleted_at.is_(None))
    .with_for_update(key_share=True, read=True)
)
OWN_TODAY = Statement(
    select(
        Asset.scale,
        select(func.coalesce(func.sum(_deposits.c.amount), 0).cast(BigInteger))
        .where(
            _deposits.c.user_id == bindparam("user_id"),
            _deposits.c.provider == bindparam("provider"),
            _deposits.c.currency == bindparam("currency"),
            _deposits.c.created_at >= bindparam("midnight"),
        )
        .scalar_subquery()
        .label("used"),
    ).where(Asset.code == bindparam("currency"))
)


@dataclass(frozen=True, slots=True)
class _OwnToday:
    scale: int
    used: int


async def deposit_succeeded(
    transaction: Transaction, *, receipt: Receipt, now: datetime, by: Attribution | None = None
) -> DepositRow:
    """Record money that came in, once per provider and reference; the account's debt is paid first.

    Raises:
        Problem: `provider_reference.reused`, `balance.limit_exceeded`.
    """
    by = by or Attribution()
    deposit = await _record(transaction, receipt, now)
    if deposit.status not in {"pending", "failed"}:
        return deposit
    transfer_id = await move(
        transaction,
        deposit,
        "deposit",
        deposit.amount,
        key=f"deposit:{deposit.id}",
        by=by,
        now=now,
        occurred_at=receipt.occurred_at,
    )
    return await transaction.fetch_row(SUCCEED, DepositRow, deposit_id=deposit.id, new_transfer_id=transfer_id)


async def deposit_pending(transaction: Transaction, *, receipt: Receipt, now: datetime) -> DepositRow:
    """Record money that is on its way, unless it has been recorded.

    Raises:
        Problem: `provider_reference.reused`.
    """
    return await _record(transaction, receipt, now)


async def deposit_failed(transaction: Transaction, *, receipt: Receipt, now: datetime) -> DepositRow:
    """Record that money didn't come in. After `succeeded`, it changes nothing.

    Raises:
        Problem: `provider_reference.reused`.
    """
    deposit = await _record(transaction, receipt, now)
    return (
        await transaction.fetch_row(FAIL, DepositRow, deposit_id=deposit.id) if deposit.status == "pending" else deposit
    )


async def book(transaction: Transaction, *, receipt: Receipt, now: datetime, by: Attribution) -> DepositRow:
    """Record what an operator saw on the bank's statement.

    Raises:
        Problem: 422 if the account doesn't exist, and those of `deposit_succeeded`.
    """
    if await transaction.fetch_value(LOCK_ACCOUNT, user_id=receipt.user_id) is None:
        raise problems.user_unknown()
    return await deposit_succeeded(transaction, receipt=receipt, now=now, by=by)


async def book_own(transaction: Transaction, *, user_id: UUID, currency: str, amount: int, now: datetime) -> DepositRow:
    """Record money that nobody sent, in development.

    Raises:
        Problem: `deposit.limit_exceeded`, `balance.limit_exceeded`.
    """
    await lock_user(transaction, user_id)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    today = await transaction.fetch_row(
        OWN_TODAY, _OwnToday, user_id=user_id, provider="development", currency=currency, midnight=midnight
    )
    limit = MAX_OWN_PER_DAY * 10**today.scale
    if today.used + amount > limit:
        raise problems.deposit_limit_exceeded(limit=limit, used=today.used)
    receipt = Receipt(provider="development", reference=str(uuid7()), user_id=user_id, currency=currency, amount=amount)
    return await deposit_succeeded(transaction, receipt=receipt, now=now, by=Attribution(actor_id=user_id))


async def _record(transaction: Transaction, receipt: Receipt, now: datetime) -> DepositRow:
    """Record a receipt as pending, unless it is known, and lock its row."""
    values = {"provider": receipt.provider, "provider_ref": receipt.reference}
    await transaction.execute(
        RECORD,
        **values,
        id=uuid7(),
        user_id=receipt.user_id,
        currency=receipt.currency,
        amount=receipt.amount,
        created_at=now,
    )
    deposit = await lock(transaction, **values)
    if (deposit.user_id, deposit.currency, deposit.amount) != (receipt.user_id, receipt.currency, receipt.amount):
        raise problems.reference_reused()
    return deposit


async def lock(transaction: Transaction, *, provider: str, provider_ref: str) -> DepositRow:
    """
    Raises:
        Problem: `deposit.not_found`.
    """
    deposit = await transaction.fetch_one(LOCK, DepositRow, provider=provider, provider_ref=provider_ref)
    if deposit is None:
        raise problems.deposit_not_found()
    return deposit


async def move(
    transaction: Transaction,
    deposit: DepositRow,
    kind: Literal["deposit", "dispute", "dispute_won"],
    amount: int,
    *,
    key: str,
    by: Attribution,
    now: datetime,
    occurred_at: datetime | None = None,
) -> UUID:
    """Post an amount from the provider to the user, or back where it is negative; return the transfer's id."""
    transfer = NewTransfer(
        kind=kind,
        key=key,
        postings=[
            Posting(user_account(deposit.user_id, "available", deposit.currency), amount),
            Posting(provider_account(deposit.provider, "external", deposit.currency), -amount),
        ],
        reference=deposit.provider_ref,
        actor_id=by.actor_id,
        operator=by.operator,
        reason=by.reason,
        occurred_at=occurred_at,
        allow_frozen=True,
        allow_debt=amount < 0,
    )
    return (await service.post(transaction, transfer=transfer, now=now)).transfer_id
