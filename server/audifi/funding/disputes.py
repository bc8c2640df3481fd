"""Disputes of deposits: what a provider reports of a chargeback, in the caller's transaction.

Each report may arrive several times and in any order; what counts is which ones have arrived. A dispute's status only
rises (open, lost, won): lost before open takes the money, open after won takes nothing.
docs/decisions/0037-deposits-and-payouts.md
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, bindparam, case, func, select, update
from sqlalchemy.dialects import postgresql
from uuid6 import uuid7

from audifi.core.db.database import Transaction
from audifi.core.db.statements import Statement, parameters
from audifi.funding import deposits, problems
from audifi.funding.deposits import Attribution, DepositRow
from audifi.funding.models import Deposit, Dispute, DisputeStatus

RANKS: dict[DisputeStatus, int] = {"open": 1, "lost": 2, "won": 3}

_deposits, _disputes = Deposit.__table__, Dispute.__table__


@dataclass(frozen=True, slots=True)
class DisputeRow:
    id: UUID
    deposit_id: UUID
    amount: int
    status: DisputeStatus
    transfer_id: UUID | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DisputeReport:
    """What a provider says of a chargeback."""

    provider: str
    deposit_reference: str
    reference: str
    """The provider's id of the dispute."""
    status: DisputeStatus
    amount: int
    """What the bank took, or wants to: of the first report; the later ones can't change it."""


FIND_DISPUTE = Statement(
    select(*(_disputes.c[name] for name in DisputeRow.__dataclass_fields__)).where(
        _disputes.c.provider == bindparam("provider"), _disputes.c.provider_ref == bindparam("provider_ref")
    )
)
WRITE_DISPUTE = Statement(
    postgresql.insert(_disputes)
    .values(
        parameters(
            *("id", "deposit_id", "provider", "provider_ref", "amount", "status", "transfer_id", "returned_by_id"),
            *("operator", "reason", "created_at", "updated_at"),
        )
    )
    .on_conflict_do_update(
        index_elements=["provider", "provider_ref"],
        set_={
            name: getattr(postgresql.insert(_disputes).excluded, name)
            for name in ("status", "returned_by_id", "operator", "reason", "updated_at")
        },
    )
)
_standing = (
    select(
        func.coalesce(func.sum(_disputes.c.amount), 0).cast(BigInteger).label("amount"),
        func.coalesce(func.bool_or(_disputes.c.status == "open"), False).label("is_open"),
    )
    .where(_disputes.c.deposit_id == bindparam("deposit_id"), _disputes.c.status != "won")
    .subquery()
)
COUNT_DISPUTES = Statement(
    update(_deposits)
    .where(_deposits.c.id == bindparam("deposit_id"))
    .values(
        disputed=_standing.c.amount,
        status=case((_standing.c.amount == 0, "succeeded"), (_standing.c.is_open, "disputed"), else_="lost"),
    )
    .returning(*deposits.COLUMNS)
)


async def dispute_reported(
    transaction: Transaction, *, report: DisputeReport, now: datetime, by: Attribution | None = None
) -> DepositRow:
    """Record a chargeback's status, if it is the highest so far; take the money, or give it back.

    The user's available balance gives what it has, and the rest becomes debt.

    Raises:
        Problem: `deposit.not_found`, `deposit.not_succeeded`, `dispute.amount_exceeded`, `provider_reference.reused`.
    """
    by = by or Attribution()
    deposit = await deposits.lock(transaction, provider=report.provider, provider_ref=report.deposit_reference)
    if deposit.status in {"pending", "failed"}:
        raise problems.deposit_not_succeeded()
    dispute = await transaction.fetch_one(
        FIND_DISPUTE, DisputeRow, provider=report.provider, provider_ref=report.reference
    )
    if dispute is None:
        dispute = DisputeRow(uuid7(), deposit.id, report.amount, report.status, None)
        if report.status != "won" and deposit.disputed + report.amount > deposit.amount:
            raise problems.dispute_amount_exceeded()
    elif dispute.deposit_id != deposit.id:
        raise problems.reference_reused()
    elif RANKS[report.status] <= RANKS[dispute.status]:
        return deposit
    taken_by, returned_by = dispute.transfer_id, None
    if taken_by is None and report.status != "won":
        taken_by = await deposits.move(
            transaction, deposit, "dispute", -dispute.amount, key=f"dispute:{dispute.id}", by=by, now=now
        )
    if taken_by is not None and report.status == "won":
        returned_by = await deposits.move(
            transaction, deposit, "dispute_won", dispute.amount, key=f"dispute_won:{dispute.id}", by=by, now=now
        )
    await transaction.execute(
        WRITE_DISPUTE,
        id=dispute.id,
        deposit_id=deposit.id,
        provider=report.provider,
        provider_ref=report.reference,
        amount=dispute.amount,
        status=report.status,
        transfer_id=taken_by,
        returned_by_id=returned_by,
        operator=by.operator,
        reason=by.reason,
        created_at=now,
        updated_at=now,
    )
    return await transaction.fetch_row(COUNT_DISPUTES, DepositRow, deposit_id=deposit.id)
