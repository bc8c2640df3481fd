"""Tables of revenue, distributions and claims. The pools and what accrues in them belong to the ledger."""

from datetime import date, datetime
from decimal import Decimal
from typing import Literal
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Date,
    DateTime,
    ForeignKey,
    Index,
    Numeric,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from audifi.core.db.base import Base, one_of
from audifi.core.http.schemas import MAX_AMOUNT

type RevenueSource = Literal["streaming", "sale", "resale_royalty", "license", "merchandise", "manual"]
type RevenueStatus = Literal["recorded", "funded", "distributed", "voided"]
type Payer = Literal["artist", "receipt"]
"""The artist pays by the balance, and by the royalty of a resale."""
type DistributionStatus = Literal["declared", "posted", "canceled"]

Instant = DateTime(timezone=True)
Units = Numeric(38, 0)


class DividendPool(Base):
    """The ledger's pool of an offering in a currency; made with the first distribution in it."""

    __tablename__ = "dividend_pools"
    __table_args__ = (UniqueConstraint("ipo_id", "currency"),)

    pool_id: Mapped[UUID] = mapped_column(ForeignKey("ledger_pools.id"), primary_key=True)
    ipo_id: Mapped[UUID] = mapped_column(ForeignKey("ipos.id"))
    currency: Mapped[str] = mapped_column(Text)


class RevenueEvent(Base):
    """Revenue of an offered master. It is distributed once it is money: when it is funded."""

    __tablename__ = "revenue_events"
    __table_args__ = (
        # Not of all offerings: an artist must neither block nor detect another's references.
        UniqueConstraint("ipo_id", "provider", "external_ref"),
        CheckConstraint(one_of("source", RevenueSource), name="source"),
        CheckConstraint(one_of("status", RevenueStatus), name="status"),
        CheckConstraint(one_of("funded_from", Payer), name="funded_from"),
        CheckConstraint(f"amount BETWEEN 1 AND {MAX_AMOUNT}", name="amount"),
        CheckConstraint("period_start <= period_end", name="period"),
        CheckConstraint("char_length(provider) BETWEEN 1 AND 100", name="provider_length"),
        CheckConstraint("char_length(external_ref) BETWEEN 1 AND 200", name="external_ref_length"),
        CheckConstraint("status NOT IN ('funded', 'distributed') OR funded_from IS NOT NULL", name="funded"),
        CheckConstraint("status <> 'distributed' OR distribution_id IS NOT NULL", name="distributed"),
        CheckConstraint("distribution_id IS NULL OR status IN ('funded', 'distributed')", name="declared"),
        Index(None, "ipo_id", "id"),
        Index(None, "distribution_id"),
        Index(
            "ix_revenue_events_waiting",
            "ipo_id",
            "currency",
            postgresql_where=text("status = 'funded' AND distribution_id IS NULL"),
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)  # UUIDv7
    ipo_id: Mapped[UUID] = mapped_column(ForeignKey("ipos.id"))
    source: Mapped[str] = mapped_column(Text)
    amount: Mapped[int] = mapped_column(BigInteger)
    currency: Mapped[str] = mapped_column(Text)
    period_start: Mapped[date] = mapped_column(Date)
    period_end: Mapped[date] = mapped_column(Date)  # included
    provider: Mapped[str] = mapped_column(Text)  # its reporter: a distributor, a label, the artist
    external_ref: Mapped[str] = mapped_column(Text)  # the provider's number of it
    statement_id: Mapped[UUID | None] = mapped_column()  # the royalty statement that it was read from
    status: Mapped[str] = mapped_column(Text)
    funded_from: Mapped[str | None] = mapped_column(Text)  # the artist's balance, or a receipt that an admin saw
    distribution_id: Mapped[UUID | None] = mapped_column(ForeignKey("distributions.id"))
    recorded_by: Mapped[UUID | None] = mapped_column()  # an account; null for a job
    created_at: Mapped[datetime] = mapped_column(Instant)


class Distribution(Base):
    """Funded revenue that is shared out at a time that was declared before."""

    __tablename__ = "distributions"
    __table_args__ = (
        CheckConstraint(one_of("status", DistributionStatus), name="status"),
        CheckConstraint("platform >= 0 AND artist >= 0 AND holders >= 1", name="parts"),
        CheckConstraint("platform + artist + holders = gross", name="gross"),
        CheckConstraint("record_at >= declared_at", name="record_at"),
        CheckConstraint(
            "(status = 'posted') = (num_nonnulls(posted_at, transfer_id, per_unit_before, per_unit_after,"
            " residue_after) = 5)",
            name="posted",
        ),
        CheckConstraint(
            "char_length(canceled_by) <= 100 AND char_length(cancel_reason) <= 500", name="canceled_length"
        ),
        Index(None, "ipo_id", "record_at"),
        Index("ix_distributions_due", "record_at", postgresql_where=text("status = 'declared'")),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)  # UUIDv7
    ipo_id: Mapped[UUID] = mapped_column(ForeignKey("ipos.id"))
    pool_id: Mapped[UUID] = mapped_column(ForeignKey("ledger_pools.id"))
    currency: Mapped[str] = mapped_column(Text)
    gross: Mapped[int] = mapped_column(BigInteger)  # the sum of its revenue events
    platform: Mapped[int] = mapped_column(BigInteger)
    artist: Mapped[int] = mapped_column(BigInteger)
    holders: Mapped[int] = mapped_column(BigInteger)
    per_unit_before: Mapped[Decimal | None] = mapped_column(Units)
    per_unit_after: Mapped[Decimal | None] = mapped_column(Units)
    residue_after: Mapped[Decimal | None] = mapped_column(Units)
    status: Mapped[str] = mapped_column(Text)
    declared_by: Mapped[UUID | None] = mapped_column()  # an account; null for the schedule
    declared_at: Mapped[datetime] = mapped_column(Instant)
    record_at: Mapped[datetime] = mapped_column(Instant)
    posted_at: Mapped[datetime | None] = mapped_column(Instant)
    transfer_id: Mapped[UUID | None] = mapped_column(ForeignKey("ledger_transfers.id"))
    canceled_by: Mapped[str | None] = mapped_column(Text)  # the operator at a console
    cancel_reason: Mapped[str | None] = mapped_column(Text)


class DividendClaim(Base):
    """What a holder was paid from a pool. Append-only."""

    __tablename__ = "dividend_claims"
    __table_args__ = (
        CheckConstraint("amount >= 1", name="amount"),
        CheckConstraint("withheld BETWEEN 0 AND amount", name="withheld"),
        Index(None, "user_id", "created_at", "transfer_id"),
    )

    transfer_id: Mapped[UUID] = mapped_column(ForeignKey("ledger_transfers.id"), primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    pool_id: Mapped[UUID] = mapped_column(ForeignKey("ledger_pools.id"))
    amount: Mapped[int] = mapped_column(BigInteger)  # with what was withheld
    withheld: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(Instant)
