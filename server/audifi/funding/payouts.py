"""Payouts: money that goes out, in the caller's transaction.

The amount is held from the request on. `submitted` is committed before a provider is called, and a submitted payout is
never sent again: docs/decisions/0037-deposits-and-payouts.md
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import ColumnElement, Text, bindparam, exists, func, insert, literal_column, select, update
from uuid6 import uuid7

from audifi.auth.service import lock_user
from audifi.compliance import problems as compliance
from audifi.compliance.service import rule_check
from audifi.core.db.database import Transaction
from audifi.core.db.statements import Statement, parameters
from audifi.core.http.problems import Problem
from audifi.funding import problems
from audifi.funding.deposits import Attribution
from audifi.funding.models import Payout, PayoutStatus
from audifi.ledger import debt, service
from audifi.ledger.accounts import provider_account, user_account
from audifi.ledger.models import Account, Asset
from audifi.ledger.problems import account_frozen, refusals
from audifi.ledger.service import NewTransfer, Posting

if TYPE_CHECKING:
    from audifi.funding.providers import PayoutProvider

MINIMUM = 10
"""Units of a currency, not its base units."""
MAX_OPEN = 5
HELD_FOR = timedelta(days=3650)
"""A payout ends when the provider says so; its hold must not expire before."""

_payouts = Payout.__table__


@dataclass(frozen=True, slots=True)
class PayoutRow:
    id: UUID
    user_id: UUID
    provider: str
    currency: str
    amount: int
    status: PayoutStatus
    hold_id: UUID
    transfer_id: UUID | None
    created_at: datetime
    submitted_at: datetime | None
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class _Limits:
    scale: int
    open_payouts: int


COLUMNS = [_payouts.c[name] for name in PayoutRow.__dataclass_fields__]
IS_OPEN: ColumnElement[bool] = literal_column(
    "status IN ('requested', 'submitted')"
)  # the condition of ix_payouts_open
LIMITS = Statement(
    select(
        Asset.scale,
        select(func.count())
        .select_from(_payouts)
        .where(_payouts.c.user_id == bindparam("user_id"), IS_OPEN)
        .scalar_subquery()
        .label("open_payouts"),
    ).where(Asset.code == bindparam("currency"))
)
REQUEST = Statement(
    insert(_payouts)
    .values(parameters("id", "user_id", "provider", "currency", "amount", "hold_id", "created_at"))
    .values(status="requested")
    .returning(*COLUMNS)
)
_changes = {
    "status": bindparam("new_status", type_=Text),
    "provider_ref": func.coalesce(bindparam("new_provider_ref", type_=Text), _payouts.c.provider_ref),
    "transfer_id": bindparam("new_transfer_id", type_=_payouts.c.transfer_id.type),
    "returned_by_id": bindparam("new_returned_by_id", type_=_payouts.c.returned_by_id.type),
    "operator": bindparam("new_operator", type_=Text),
    "reason": bindparam("new_reason", type_=Text),
    "ended_at": bindparam("now", type_=_payouts.c.ended_at.type),
}
_this = _payouts.c.id == bindparam("payout_id")
_is_requested = _payouts.c.status == "requested"
CANCEL = Statement(
    update(_payouts)
    .where(_this, _payouts.c.user_id == bindparam("owner_id"), _is_requested)
    .values(status="canceled", ended_at=bindparam("now"))
    .returning(*COLUMNS)
)
SUBMIT = Statement(
    update(_payouts)
    .where(_this, _is_requested)
    .values(status="submitted", submitted_at=bindparam("now"), operator=bindparam("new_operator"))
    .returning(*COLUMNS)
)
REFER = Statement(
    update(_payouts)
    .where(_this, _payouts.c.status == "submitted", _payouts.c.provider_ref.is_(None))
    .values(provider_ref=bindparam("new_provider_ref"))
)
LOCK = Statement(select(*COLUMNS).where(_this).with_for_update())
END = Statement(update(_payouts).where(_this).values(_changes).returning(*COLUMNS))
FIND = Statement(select(*COLUMNS).where(_this), optional={"owner_id": _payouts.c.user_id == bindparam("owner_id")})
MAY_REQUEST = Statement(select(func.ledger_refuse_debt_v1(bindparam("user_id")), rule_check("payout")))
IS_FROZEN = Statement(
    select(
        exists().where(
            Account.id == func.ledger_account_id_v1(bindparam("address", type_=Text)), Account.frozen_at.is_not(None)
        )
    )
)


async def request(
    transaction: Transaction,
    *,
    user_id: UUID,
    provider: "PayoutProvider | None",
    currency: str,
    amount: int,
    now: datetime,
) -> PayoutRow:
    """Hold the amount, and ask for its payout; operators send it where there is no provider.

    Raises:
        Problem: 422 below the minimum, those of the rules (`compliance`), `account.in_debt`, `payout.limit_exceeded`,
            `balance.insufficient`, and what the provider raises.
    """
    await lock_user(transaction, user_id)
    limits = await transaction.fetch_row(LIMITS, _Limits, user_id=user_id, currency=currency)
    minimum = MINIMUM * 10**limits.scale
    if amount < minimum:
        raise problems.payout_too_small(minimum)
    with refusals(), compliance.refusals():
        await transaction.execute(MAY_REQUEST, user_id=user_id, ipo_id=None, amount=amount, currency=currency, now=now)
    if limits.open_payouts >= MAX_OPEN:
        raise problems.payout_limit_exceeded(MAX_OPEN)
    if provider:
        await provider.check(transaction, user_id=user_id, currency=currency, amount=amount, now=now)
    payout_id = uuid7()
    hold = await service.hold(
        transaction,
        account=user_account(user_id, "available", currency),
        amount=amount,
        purpose="payout",
        key=f"payout:{payout_id}",
        expires_at=now + HELD_FOR,
        now=now,
    )
    return await transaction.fetch_row(
        REQUEST,
        PayoutRow,
        id=payout_id,
        user_id=user_id,
        provider=provider.name if provider else "operator",
        currency=currency,
        amount=amount,
        hold_id=hold.hold_id,
        created_at=now,
    )


async def cancel(transaction: Transaction, *, payout_id: UUID, user_id: UUID, now: datetime) -> PayoutRow:
    """Cancel a payout of the user that wasn't submitted.

    Raises:
        Problem: `payout.not_found`, `payout.status_conflict`.
    """
    payout = await transaction.fetch_one(CANCEL, PayoutRow, payout_id=payout_id, owner_id=user_id, now=now)
    if payout is None:
        raise await _conflict(transaction, payout_id=payout_id, owner_id=user_id)
    await _free(transaction, payout, now)
    return payout


async def submit(
    transaction: Transaction, *, payout_id: UUID, now: datetime, by: Attribution | None = None
) -> PayoutRow:
    """Decide that a payout is sent now. The caller commits, and only then sends it.

    Raises:
        Problem: `payout.not_found`, `payout.status_conflict`, `account.in_debt`, `account.frozen`.
    """
    by = by or Attribution()
    payout = await transaction.fetch_one(SUBMIT, PayoutRow, payout_id=payout_id, now=now, new_operator=by.operator)
    if payout is None:
        raise await _conflict(transaction, payout_id=payout_id)
    await debt.refuse(transaction, user_id=payout.user_id)
    address = user_account(payout.user_id, "available", payout.currency).address
    if await transaction.fetch_value(IS_FROZEN, address=address):
        raise account_frozen()
    return payout


async def payout_paid(
    transaction: Transaction,
    *,
    payout_id: UUID,
    now: datetime,
    reference: str | None = None,
    by: Attribution | None = None,
) -> PayoutRow:
    """Record that a submitted payout has been paid. After `failed`, which is final, it changes nothing.

    Raises:
        Problem: `payout.not_found`, `payout.status_conflict` if it wasn't submitted.
    """
    payout = await _lock(transaction, payout_id)
    if payout.status in {"paid", "failed"}:
        return payout
    if payout.status != "submitted":
        raise problems.payout_status_conflict(payout.status)
    transfer_id = await _move(transaction, payout, "payout", now=now, by=by, reference=reference)
    return await _end(transaction, payout, "paid", now=now, by=by, reference=reference, transfer_id=transfer_id)


async def payout_failed(
    transaction: Transaction,
    *,
    payout_id: UUID,
    now: datetime,
    reference: str | None = None,
    by: Attribution | None = None,
) -> PayoutRow:
    """Record that a payout wasn't paid, or came back after it had been. The money is the user's again.

    Raises:
        Problem: `payout.not_found`, `payout.status_conflict` if it was canceled.
    """
    payout = await _lock(transaction, payout_id)
    if payout.status == "failed":
        return payout
    if payout.status == "canceled":
        raise problems.payout_status_conflict(payout.status)
    returned_by = None
    if payout.status == "paid":
        returned_by = await _move(transaction, payout, "payout_returned", now=now, by=by, reference=reference)
    else:
        await _free(transaction, payout, now)
    return await _end(
        transaction,
        payout,
        "failed",
        now=now,
        by=by,
        reference=reference,
        transfer_id=payout.transfer_id,
        returned_by=returned_by,
    )


async def _lock(transaction: Transaction, payout_id: UUID) -> PayoutRow:
    payout = await transaction.fetch_one(LOCK, PayoutRow, payout_id=payout_id)
    if payout is None:
        raise problems.payout_not_found()
    return payout


async def _conflict(transaction: Transaction, *, payout_id: UUID, owner_id: UUID | None = None) -> Problem:
    payout = await transaction.fetch_one(FIND, PayoutRow, payout_id=payout_id, owner_id=owner_id)
    return problems.payout_status_conflict(payout.status) if payout else problems.payout_not_found()


async def _free(transaction: Transaction, payout: PayoutRow, now: datetime) -> None:
    await service.void_hold(transaction, hold_id=payout.hold_id, now=now)
    await debt.pay(transaction, user_id=payout.user_id, asset=payout.currency, now=now)


async def _move(
    transaction: Transaction,
    payout: PayoutRow,
    kind: str,
    *,
    now: datetime,
    by: Attribution | None,
    reference: str | None,
) -> UUID:
    """Post what is held to the provider, or bring it back; return the transfer's id."""
    by = by or Attribution()
    amount = -payout.amount if kind == "payout" else payout.amount
    transfer = NewTransfer(
        kind=kind,
        key=f"{kind}:{payout.id}",
        postings=[
            Posting(user_account(payout.user_id, "available", payout.currency), amount),
            Posting(provider_account(payout.provider, "external", payout.currency), -amount),
        ],
        reference=reference or "",
        operator=by.operator,
        reason=by.reason,
        settles=payout.hold_id if kind == "payout" else None,
        allow_frozen=True,
    )
    return (await service.post(transaction, transfer=transfer, now=now)).transfer_id


async def _end(
    transaction: Transaction,
    payout: PayoutRow,
    status: PayoutStatus,
    *,
    now: datetime,
    by: Attribution | None,
    reference: str | None,
    transfer_id: UUID | None,
    returned_by: UUID | None = None,
) -> PayoutRow:
    by = by or Attribution()
    return await transaction.fetch_row(
        END,
        PayoutRow,
        payout_id=payout.id,
        new_status=status,
        new_provider_ref=reference,
        new_transfer_id=transfer_id,
        new_returned_by_id=returned_by,
        new_operator=by.operator,
        new_reason=by.reason,
        now=now,
    )
