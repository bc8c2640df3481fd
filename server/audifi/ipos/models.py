"""Tables of offerings, their purchases, and the shares that people hold."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    LargeBinary,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, INT8RANGE, ExcludeConstraint, Range
from sqlalchemy.orm import Mapped, mapped_column

from audifi.compliance.models import COUNTRIES
from audifi.core.db.base import Base, one_of

type IpoStatus = Literal["draft", "live", "paused", "completed", "canceling", "canceled"]
type PurchaseStatus = Literal["settled", "withdrawn", "refunded"]
type ReservationStatus = Literal["open", "used", "canceled", "expired"]
type Custody = Literal["ledger", "chain"]
type EventName = Literal["launched", "unlaunched", "paused", "resumed", "completed", "canceling", "canceled"]
type MovementReason = Literal["mint", "sale", "resale", "refund", "withdraw", "custody", "legal"]

Instant = DateTime(timezone=True)
SERIALS_PER_IPO = 2**20
"""An offering's serials are numbered from `number * SERIALS_PER_IPO + 1`: one number space for all offerings, so that
an exclusion constraint needs no extension."""


class Ipo(Base):
    """An offering of a master's shares. Its terms are fixed when it is launched."""

    __tablename__ = "ipos"
    __table_args__ = (
        UniqueConstraint("number"),
        Index("uq_ipos_master_id", "master_id", unique=True, postgresql_where=text("status <> 'canceled'")),
        Index(None, "status", "ends_at"),
        Index(None, "status", "launched_at", "id", postgresql_where=text("launched_at IS NOT NULL")),
        Index(None, "master_id", "created_at"),
        CheckConstraint(one_of("status", IpoStatus), name="status"),
        CheckConstraint("total_shares BETWEEN 1 AND 1000000", name="total_shares"),
        CheckConstraint("retained_shares >= 0 AND offered >= 1", name="parts"),
        CheckConstraint("retained_shares + offered = total_shares", name="total"),
        CheckConstraint("unit_price BETWEEN 1 AND 100000000", name="unit_price"),
        CheckConstraint("max_per_account BETWEEN 1 AND offered", name="max_per_account"),
        CheckConstraint("min_shares BETWEEN 0 AND offered", name="min_shares"),
        CheckConstraint("holders_bps BETWEEN 100 AND 9000", name="holders_bps"),
        CheckConstraint("platform_bps >= 0 AND platform_bps + holders_bps <= 10000", name="platform_bps"),
        CheckConstraint("sale_fee_bps BETWEEN 0 AND 5000", name="sale_fee_bps"),
        CheckConstraint("resale_fee_bps BETWEEN 0 AND 500", name="resale_fee_bps"),
        CheckConstraint("royalty IS JSON OBJECT", name="royalty"),
        CheckConstraint("royalty_to_holders_bps BETWEEN 0 AND 10000", name="royalty_to_holders_bps"),
        CheckConstraint("lockup_days BETWEEN 0 AND 730", name="lockup_days"),
        CheckConstraint("reflection_hours BETWEEN 0 AND 240", name="reflection_hours"),
        CheckConstraint("opens_at < ends_at AND ends_at <= opens_at + interval '90 days'", name="window"),
        CheckConstraint("allowlist_until > opens_at AND allowlist_until <= ends_at", name="allowlist_window"),
        CheckConstraint("sold >= 0 AND reserved >= 0 AND sold + reserved <= offered", name="not_oversold"),
        CheckConstraint("returned BETWEEN 0 AND sold", name="returned"),
        CheckConstraint("(status = 'draft') = (terms_sha256 IS NULL)", name="terms"),
        CheckConstraint(COUNTRIES, name="countries_blocked"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger, Identity(always=True))
    master_id: Mapped[UUID] = mapped_column(ForeignKey("masters.id"))
    artist_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    status: Mapped[str] = mapped_column(Text)
    currency: Mapped[str] = mapped_column(Text)
    total_shares: Mapped[int] = mapped_column(BigInteger)
    retained_shares: Mapped[int] = mapped_column(BigInteger)
    offered: Mapped[int] = mapped_column(BigInteger)
    unit_price: Mapped[int] = mapped_column(BigInteger)
    max_per_account: Mapped[int] = mapped_column(BigInteger)
    min_shares: Mapped[int] = mapped_column(BigInteger)
    holders_bps: Mapped[int] = mapped_column(BigInteger)
    platform_bps: Mapped[int] = mapped_column(BigInteger)
    sale_fee_bps: Mapped[int] = mapped_column(BigInteger)
    resale_fee_bps: Mapped[int] = mapped_column(BigInteger)
    royalty: Mapped[str] = mapped_column(Text)
    """Canonical JSON (RFC 8785) of `splits.Royalty`."""
    royalty_to_holders_bps: Mapped[int] = mapped_column(BigInteger)
    lockup_days: Mapped[int] = mapped_column(BigInteger)
    reflection_hours: Mapped[int] = mapped_column(BigInteger)
    countries_blocked: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'"))
    """Where nobody may buy these shares, beside what the rules say; `compliance_check_v1` asks."""
    opens_at: Mapped[datetime] = mapped_column(Instant)
    allowlist_until: Mapped[datetime | None] = mapped_column(Instant)
    ends_at: Mapped[datetime] = mapped_column(Instant)
    sold: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    """Shares that have a serial; those withdrawn are among them, and aren't sold again."""
    returned: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    """Shares of `sold` that were withdrawn or refunded."""
    reserved: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    buyers: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    """How many accounts have bought: the ordinal of the last one."""
    terms_sha256: Mapped[bytes | None] = mapped_column(LargeBinary)
    """Of the canonical JSON of all terms, at the launch."""
    version: Mapped[int] = mapped_column(BigInteger, server_default=text("1"))
    created_at: Mapped[datetime] = mapped_column(Instant)
    launched_at: Mapped[datetime | None] = mapped_column(Instant)
    closed_at: Mapped[datetime | None] = mapped_column(Instant)
    minters: Mapped[list[UUID]] = mapped_column(ARRAY(Uuid), server_default=text("'{}'"))
    """The first three buyers of different mailboxes at completion; the royalty may give them a part of resales."""


class IpoEvent(Base):
    """A change of an offering's state. A trigger makes it append-only."""

    __tablename__ = "ipo_events"
    __table_args__ = (
        CheckConstraint(one_of("event", EventName), name="event"),
        CheckConstraint("char_length(actor) <= 100", name="actor_length"),
        CheckConstraint("char_length(detail) <= 500", name="detail_length"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    ipo_id: Mapped[UUID] = mapped_column(ForeignKey("ipos.id"))
    event: Mapped[str] = mapped_column(Text)
    user_id: Mapped[UUID | None] = mapped_column()
    """The account that asked for it; null for the clock and for operators at a console."""
    actor: Mapped[str | None] = mapped_column(Text)
    """The operator at a console."""
    detail: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(Instant)


class IpoAllowlistEntry(Base):
    """An account that may buy before `allowlist_until`, with its own cap if it has one."""

    __tablename__ = "ipo_allowlist"
    __table_args__ = (CheckConstraint("cap >= 1", name="cap"),)

    ipo_id: Mapped[UUID] = mapped_column(ForeignKey("ipos.id"), primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"), primary_key=True)
    cap: Mapped[int | None] = mapped_column(BigInteger)


class IpoBuyer(Base):
    """What an account has bought and reserved. The CHECK decides races for its cap."""

    __tablename__ = "ipo_buyers"
    __table_args__ = (
        CheckConstraint("bought >= 0 AND reserved >= 0", name="not_negative"),
        CheckConstraint("bought + reserved <= cap", name="cap"),
        UniqueConstraint("ipo_id", "ordinal"),
    )

    ipo_id: Mapped[UUID] = mapped_column(ForeignKey("ipos.id"), primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"), primary_key=True)
    bought: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    reserved: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    cap: Mapped[int] = mapped_column(BigInteger)
    ordinal: Mapped[int | None] = mapped_column(BigInteger)
    """The account's place in the order of first payments; null before it has paid."""


class IpoReservation(Base):
    """Shares that are set aside for ten minutes, while their buyer pays."""

    __tablename__ = "ipo_reservations"
    __table_args__ = (
        CheckConstraint(one_of("status", ReservationStatus), name="status"),
        CheckConstraint("quantity BETWEEN 1 AND 10000", name="quantity"),
        Index(
            "uq_ipo_reservations_open",
            "ipo_id",
            "user_id",
            unique=True,
            postgresql_where=text("status = 'open'"),
        ),
        Index(None, "user_id", "ipo_id", "expires_at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    ipo_id: Mapped[UUID] = mapped_column(ForeignKey("ipos.id"))
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    quantity: Mapped[int] = mapped_column(BigInteger)
    status: Mapped[str] = mapped_column(Text)
    expires_at: Mapped[datetime] = mapped_column(Instant)
    created_at: Mapped[datetime] = mapped_column(Instant)


class IpoPurchase(Base):
    """A purchase, paid in full."""

    __tablename__ = "ipo_purchases"
    __table_args__ = (
        CheckConstraint(one_of("status", PurchaseStatus), name="status"),
        CheckConstraint("quantity BETWEEN 1 AND 10000", name="quantity"),
        CheckConstraint("total = quantity * unit_price", name="total"),
        CheckConstraint("upper(serials) - lower(serials) = quantity", name="serials"),
        Index(None, "ipo_id", "id"),
        Index(None, "user_id", "id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    ipo_id: Mapped[UUID] = mapped_column(ForeignKey("ipos.id"))
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    quantity: Mapped[int] = mapped_column(BigInteger)
    unit_price: Mapped[int] = mapped_column(BigInteger)
    total: Mapped[int] = mapped_column(BigInteger)
    serials: Mapped[Range[int]] = mapped_column(INT8RANGE)
    terms_sha256: Mapped[bytes] = mapped_column(LargeBinary)
    transfer_id: Mapped[UUID] = mapped_column(ForeignKey("ledger_transfers.id"))
    status: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(Instant)


class IpoProceeds(Base):
    """An account's part of a completed offering's escrow, pending until it is released."""

    __tablename__ = "ipo_proceeds"
    __table_args__ = (
        CheckConstraint("amount >= 1", name="amount"),
        Index(None, "release_at", postgresql_where=text("released_at IS NULL")),
    )

    ipo_id: Mapped[UUID] = mapped_column(ForeignKey("ipos.id"), primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"), primary_key=True)
    amount: Mapped[int] = mapped_column(BigInteger)
    release_at: Mapped[datetime] = mapped_column(Instant)
    released_at: Mapped[datetime | None] = mapped_column(Instant)


class HolderProfile(Base):
    """Whether an account's name is shown beside its shares. No row: it isn't."""

    __tablename__ = "holder_profiles"

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"), primary_key=True)
    is_public: Mapped[bool] = mapped_column()


class ShareLot(Base):
    """Contiguous serials in one account of the ledger. Two lots never overlap."""

    __tablename__ = "share_lots"
    __table_args__ = (
        ExcludeConstraint(("serials", "&&"), name="ex_share_lots_serials", using="gist"),
        CheckConstraint(one_of("custody", Custody), name="custody"),
        CheckConstraint("NOT isempty(serials)", name="serials"),
        Index(None, "account_id", "id"),
        Index(None, "ipo_id", "account_id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    ipo_id: Mapped[UUID] = mapped_column(ForeignKey("ipos.id"))
    serials: Mapped[Range[int]] = mapped_column(INT8RANGE)
    account_id: Mapped[UUID] = mapped_column(ForeignKey("ledger_accounts.id"))
    custody: Mapped[str] = mapped_column(Text)
    acquired_at: Mapped[datetime] = mapped_column(Instant)
    transferable_at: Mapped[datetime] = mapped_column(Instant)
    """The end of the lock-up."""


class ShareMovement(Base):
    """A movement of shares between accounts: their provenance. A trigger makes it append-only."""

    __tablename__ = "share_movements"
    __table_args__ = (
        CheckConstraint(one_of("reason", MovementReason), name="reason"),
        CheckConstraint("price >= 0", name="price"),
        Index("ix_share_movements_serials", "serials", postgresql_using="gist"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    ipo_id: Mapped[UUID] = mapped_column(ForeignKey("ipos.id"))
    transfer_id: Mapped[UUID] = mapped_column(ForeignKey("ledger_transfers.id"))
    serials: Mapped[Range[int]] = mapped_column(INT8RANGE)
    from_id: Mapped[UUID] = mapped_column(ForeignKey("ledger_accounts.id"))
    to_id: Mapped[UUID] = mapped_column(ForeignKey("ledger_accounts.id"))
    reason: Mapped[str] = mapped_column(Text)
    price: Mapped[int] = mapped_column(BigInteger)
    """Paid for all of them, in base units of the offering's currency; 0 where nothing was paid."""
    at: Mapped[datetime] = mapped_column(Instant)
