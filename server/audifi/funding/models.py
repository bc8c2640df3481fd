"""Tables of deposits, disputes and payouts. Nothing is deleted from them."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, DateTime, ForeignKey, Index, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from audifi.core.db.base import Base
from audifi.core.http.schemas import MAX_AMOUNT

type DepositStatus = Literal["pending", "succeeded", "failed", "disputed", "lost"]
type DisputeStatus = Literal["open", "lost", "won"]
type PayoutStatus = Literal["requested", "submitted", "paid", "failed", "canceled"]

Instant = DateTime(timezone=True)
IS_OPEN = "status IN ('requested', 'submitted')"


def _checks(*, is_changed_by_operators: bool = True) -> tuple[CheckConstraint, ...]:
    """Return the constraints that the tables share."""
    lengths = {"provider_ref": "BETWEEN 1 AND 100"}
    if is_changed_by_operators:
        lengths |= {"operator": "<= 100", "reason": "<= 200"}
    return (
        CheckConstraint("provider ~ '^[a-z_]{1,40}$'", name="provider"),
        CheckConstraint(f"amount BETWEEN 1 AND {MAX_AMOUNT}", name="amount"),
        *(
            CheckConstraint(f"char_length({column}) {limit}", name=f"{column}_length")
            for column, limit in lengths.items()
        ),
    )


class Deposit(Base):
    """Money of a user that came in at a provider."""

    __tablename__ = "deposits"
    __table_args__ = (
        UniqueConstraint("provider", "provider_ref"),
        UniqueConstraint("transfer_id"),
        *_checks(is_changed_by_operators=False),
        CheckConstraint("status IN ('pending', 'succeeded', 'failed', 'disputed', 'lost')", name="status"),
        CheckConstraint("refunding BETWEEN 0 AND amount", name="refunding"),
        CheckConstraint("disputed BETWEEN 0 AND amount", name="disputed"),
        CheckConstraint("(status IN ('disputed', 'lost')) = (disputed > 0)", name="status_of_disputes"),
        CheckConstraint("(status IN ('pending', 'failed')) = (transfer_id IS NULL)", name="transfer"),
        Index("ix_deposits_user_id", "user_id", "id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)  # UUIDv7
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    provider: Mapped[str] = mapped_column(Text)
    provider_ref: Mapped[str] = mapped_column(Text)  # the provider's id of it: a bank's reference
    currency: Mapped[str] = mapped_column(ForeignKey("ledger_assets.code"))
    amount: Mapped[int] = mapped_column(BigInteger)
    status: Mapped[str] = mapped_column(Text)
    refunding: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))  # given back, or about to be
    disputed: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))  # the sum of disputes that aren't won
    transfer_id: Mapped[UUID | None] = mapped_column(ForeignKey("ledger_transfers.id"))
    created_at: Mapped[datetime] = mapped_column(Instant)


class Dispute(Base):
    """A chargeback of a deposit, or of a part of it. Its status only rises: open, lost, won."""

    __tablename__ = "deposit_disputes"
    __table_args__ = (
        UniqueConstraint("provider", "provider_ref"),
        UniqueConstraint("transfer_id"),
        UniqueConstraint("returned_by_id"),
        *_checks(),
        CheckConstraint("status IN ('open', 'lost', 'won')", name="status"),
        CheckConstraint("status = 'won' OR transfer_id IS NOT NULL", name="transfer"),
        CheckConstraint("(returned_by_id IS NOT NULL) = (status = 'won' AND transfer_id IS NOT NULL)", name="returned"),
        Index("ix_deposit_disputes_deposit_id", "deposit_id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)  # UUIDv7
    deposit_id: Mapped[UUID] = mapped_column(ForeignKey("deposits.id"))
    provider: Mapped[str] = mapped_column(Text)
    provider_ref: Mapped[str] = mapped_column(Text)
    amount: Mapped[int] = mapped_column(BigInteger)
    status: Mapped[str] = mapped_column(Text)
    transfer_id: Mapped[UUID | None] = mapped_column(ForeignKey("ledger_transfers.id"))  # took it; null: won at once
    returned_by_id: Mapped[UUID | None] = mapped_column(ForeignKey("ledger_transfers.id"))  # gave it back
    operator: Mapped[str | None] = mapped_column(Text)  # who reported the status at a console
    reason: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(Instant)
    updated_at: Mapped[datetime] = mapped_column(Instant)


class Payout(Base):
    """Money of a user that goes out. It is held from the request until it is paid, or isn't."""

    __tablename__ = "payouts"
    __table_args__ = (
        UniqueConstraint("hold_id"),
        UniqueConstraint("transfer_id"),
        UniqueConstraint("returned_by_id"),
        *_checks(),
        CheckConstraint("status IN ('requested', 'submitted', 'paid', 'failed', 'canceled')", name="status"),
        CheckConstraint("status NOT IN ('submitted', 'paid') OR submitted_at IS NOT NULL", name="submitted_at"),
        CheckConstraint(f"({IS_OPEN}) = (ended_at IS NULL)", name="ended_at"),
        CheckConstraint("(transfer_id IS NOT NULL) = (status = 'paid' OR returned_by_id IS NOT NULL)", name="transfer"),
        CheckConstraint("returned_by_id IS NULL OR status = 'failed'", name="returned"),
        Index("ix_payouts_user_id", "user_id", "id"),
        Index("ix_payouts_open", "user_id", postgresql_where=text(IS_OPEN)),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)  # UUIDv7; the provider's idempotency key
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    provider: Mapped[str] = mapped_column(Text)
    provider_ref: Mapped[str | None] = mapped_column(Text)
    currency: Mapped[str] = mapped_column(ForeignKey("ledger_assets.code"))
    amount: Mapped[int] = mapped_column(BigInteger)
    status: Mapped[str] = mapped_column(Text)
    hold_id: Mapped[UUID] = mapped_column(ForeignKey("ledger_holds.id"))
    transfer_id: Mapped[UUID | None] = mapped_column(ForeignKey("ledger_transfers.id"))
    returned_by_id: Mapped[UUID | None] = mapped_column(ForeignKey("ledger_transfers.id"))  # failed after it was paid
    operator: Mapped[str | None] = mapped_column(Text)  # who changed the status last at a console
    reason: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(Instant)
    submitted_at: Mapped[datetime | None] = mapped_column(Instant)
    ended_at: Mapped[datetime | None] = mapped_column(Instant)
