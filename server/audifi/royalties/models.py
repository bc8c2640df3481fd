"""Tables of royalty statements, their lines, and what each statement adds to the revenue of a master."""

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
    LargeBinary,
    Numeric,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from audifi.core.db.base import Base, one_of

type StatementStatus = Literal["pending", "parsing", "suspected_duplicate", "imported", "discarded", "failed"]
type StatementFailure = Literal[
    "statement.unreadable",
    "statement.hash_mismatch",
    "statement.too_large",
    "statement.too_many_lines",
    "statement.empty",
    "statement.column_missing",
    "statement.line_invalid",
    "statement.amount_invalid",
    "statement.currency_unsupported",
]
type LineStatus = Literal["matched", "unmatched"]
type FileFormat = Literal["csv", "tsv", "jsonl"]
type Preset = Literal["distrokid", "tunecore", "canonical", "mapped"]

Instant = DateTime(timezone=True)
Amount = Numeric(19, 12)
Total = Numeric(38, 12)


class RoyaltyStatement(Base):
    """An uploaded file of royalties, and the status of its import."""

    __tablename__ = "royalty_statements"
    __table_args__ = (
        CheckConstraint(one_of("preset", Preset), name="preset"),
        CheckConstraint(one_of("format", FileFormat), name="format"),
        CheckConstraint(one_of("status", StatementStatus), name="status"),
        CheckConstraint(one_of("failure", StatementFailure), name="failure"),
        CheckConstraint("(status = 'failed') = (failure IS NOT NULL)", name="failed"),
        CheckConstraint("(status = 'imported') = (imported_at IS NOT NULL)", name="imported"),
        CheckConstraint("provider ~ '^[a-z0-9_]{1,40}$'", name="provider"),
        CheckConstraint("currency ~ '^[A-Z]{3}$'", name="currency"),
        CheckConstraint("(preset = 'mapped') = (columns IS NOT NULL)", name="columns"),
        CheckConstraint("columns IS JSON OBJECT", name="columns_json"),
        CheckConstraint("size > 0 AND bytes_read BETWEEN 0 AND size", name="size"),
        CheckConstraint("octet_length(sha256) = 32", name="sha256_length"),
        CheckConstraint("char_length(failure_detail) <= 500", name="failure_detail_length"),
        CheckConstraint("lines >= 0 AND lines <= last_line AND deleted_to BETWEEN 0 AND last_line", name="lines"),
        CheckConstraint("unmatched_lines BETWEEN 0 AND lines AND suspected_lines BETWEEN 0 AND lines", name="counts"),
        Index(
            "uq_royalty_statements_sha256",
            "sha256",
            "user_id",
            unique=True,
            postgresql_where=text("status IN ('parsing', 'suspected_duplicate', 'imported')"),
        ),
        Index(None, "user_id", "created_at", "id"),
        Index(
            "ix_royalty_statements_ended",
            "created_at",
            postgresql_where=text("status IN ('pending', 'parsing', 'discarded', 'failed')"),
        ),
        Index(None, "lines_expire_at", postgresql_where=text("deleted_to < last_line")),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)  # UUIDv7
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    of_all_artists: Mapped[bool] = mapped_column()  # an admin's: lines match masters of all artists
    preset: Mapped[str] = mapped_column(Text)
    format: Mapped[str] = mapped_column(Text)
    provider: Mapped[str] = mapped_column(Text)
    columns: Mapped[str | None] = mapped_column(Text)  # JSON: the names of a mapped file's columns
    currency: Mapped[str | None] = mapped_column(Text)  # of all lines; null: a column has it
    status: Mapped[str] = mapped_column(Text)
    failure: Mapped[str | None] = mapped_column(Text)
    failure_detail: Mapped[str | None] = mapped_column(Text)
    failure_line: Mapped[int | None] = mapped_column(BigInteger)
    size: Mapped[int] = mapped_column(BigInteger)  # bytes, as announced; so is the hash
    sha256: Mapped[bytes] = mapped_column(LargeBinary)
    bytes_read: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))  # by the job under way
    lines: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    last_line: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))  # its number in the file
    unmatched_lines: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    suspected_lines: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))  # equal to another statement's
    deleted_to: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))  # lines up to this number are gone
    expires_at: Mapped[datetime] = mapped_column(Instant)  # of the URL
    lines_expire_at: Mapped[datetime] = mapped_column(Instant)  # a discarded statement's have expired
    created_at: Mapped[datetime] = mapped_column(Instant)
    imported_at: Mapped[datetime | None] = mapped_column(Instant)
    decided_by: Mapped[UUID | None] = mapped_column()  # the account that confirmed or discarded a suspected duplicate


# No foreign keys: they would be checked for each of a million lines. The invariants find a line without its statement.
class RoyaltyLine(Base):
    """A line of a statement. Lines without a master are matched by hand later."""

    __tablename__ = "royalty_lines"
    __table_args__ = (
        CheckConstraint("(status = 'matched') = (master_id IS NOT NULL)", name="status"),
        Index(None, "statement_id", "status", "number"),
        Index("ix_royalty_lines_key", "key", postgresql_where=text("status = 'matched'")),
    )

    statement_id: Mapped[UUID] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger, primary_key=True)  # of its last line in the file, from 1
    status: Mapped[str] = mapped_column(Text)
    master_id: Mapped[UUID | None] = mapped_column()
    key: Mapped[int] = mapped_column(BigInteger)  # a hash of what tells it from other lines, without the amount
    reporting_date: Mapped[date] = mapped_column(Date)
    sale_month: Mapped[date] = mapped_column(Date)  # the month's first day
    store: Mapped[str | None] = mapped_column(Text)
    artist: Mapped[str | None] = mapped_column(Text)
    title: Mapped[str | None] = mapped_column(Text)
    isrc: Mapped[str | None] = mapped_column(Text)  # without hyphens; as in the file where it isn't valid
    upc: Mapped[str | None] = mapped_column(Text)  # 13 digits; as in the file where it isn't valid
    quantity: Mapped[int | None] = mapped_column(BigInteger)
    team_percentage: Mapped[Decimal | None] = mapped_column(Numeric(7, 4))
    type: Mapped[str | None] = mapped_column(Text)
    territory: Mapped[str | None] = mapped_column(Text)
    amount: Mapped[Decimal] = mapped_column(Amount)
    currency: Mapped[str] = mapped_column(Text)


class RoyaltyCarry(Base):
    """What is left of a master's statements: the fraction of a base unit, or a total that is negative."""

    __tablename__ = "royalty_carries"

    master_id: Mapped[UUID] = mapped_column(ForeignKey("masters.id"), primary_key=True)
    provider: Mapped[str] = mapped_column(Text, primary_key=True)
    currency: Mapped[str] = mapped_column(Text, primary_key=True)
    amount: Mapped[Decimal] = mapped_column(Total)


class RoyaltyTotal(Base):
    """What lines of a statement add up to for a master, and the revenue that was recorded of it. Append-only."""

    __tablename__ = "royalty_totals"
    __table_args__ = (
        UniqueConstraint("event_id"),
        CheckConstraint("lines >= 1", name="lines"),
        CheckConstraint("recorded >= 0 AND (recorded = 0) = (event_id IS NULL)", name="recorded"),
        CheckConstraint("period_start <= period_end", name="period"),
        Index(None, "statement_id", "id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)  # UUIDv7; the event's reference at its provider
    statement_id: Mapped[UUID] = mapped_column(ForeignKey("royalty_statements.id"))
    master_id: Mapped[UUID] = mapped_column(ForeignKey("masters.id"))
    currency: Mapped[str] = mapped_column(Text)
    lines: Mapped[int] = mapped_column(BigInteger)
    amount: Mapped[Decimal] = mapped_column(Total)  # the exact sum of the lines
    carried_in: Mapped[Decimal] = mapped_column(Total)  # from earlier statements of the provider
    recorded: Mapped[int] = mapped_column(BigInteger)  # in base units
    carried_out: Mapped[Decimal] = mapped_column(Total)  # to the next one
    event_id: Mapped[UUID | None] = mapped_column()  # the revenue event
    period_start: Mapped[date] = mapped_column(Date)
    period_end: Mapped[date] = mapped_column(Date)  # included
    created_at: Mapped[datetime] = mapped_column(Instant)
