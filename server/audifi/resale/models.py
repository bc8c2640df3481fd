"""The table of listings."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, DateTime, ForeignKey, Index, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import INT8RANGE, ExcludeConstraint, Range
from sqlalchemy.orm import Mapped, mapped_column

from audifi.core.db.base import Base, one_of

type ListingStatus = Literal["open", "sold", "canceled", "expired"]

Instant = DateTime(timezone=True)
IS_OPEN = text("status = 'open'")


class Listing(Base):
    """Contiguous shares of one lot, for sale as a whole. A trigger keeps all but its end as it was."""

    __tablename__ = "listings"
    __table_args__ = (
        ExcludeConstraint(("serials", "&&"), name="ex_listings_serials", using="gist", where=IS_OPEN),
        UniqueConstraint("hold_id"),
        CheckConstraint(one_of("status", ListingStatus), name="status"),
        CheckConstraint("quantity >= 1 AND quantity = upper(serials) - lower(serials)", name="quantity"),
        CheckConstraint("unit_price BETWEEN 1 AND 100000000", name="unit_price"),
        CheckConstraint("total = quantity * unit_price", name="total"),
        CheckConstraint("(status = 'sold') = (buyer_id IS NOT NULL)", name="buyer"),
        CheckConstraint("buyer_id <> seller_id", name="not_own"),
        CheckConstraint("(status = 'open') = (closed_at IS NULL)", name="closed_at"),
        CheckConstraint("expires_at <= created_at + interval '90 days'", name="expires_at"),
        Index(None, "ipo_id", "unit_price", "id", postgresql_where=IS_OPEN),
        Index(None, "ipo_id", "created_at", "id", postgresql_where=IS_OPEN),
        Index(None, "seller_id", postgresql_where=IS_OPEN),
        Index(None, "seller_id", "id"),
        Index(None, "buyer_id", "closed_at", "id", postgresql_where=text("buyer_id IS NOT NULL")),
        Index(None, "expires_at", postgresql_where=IS_OPEN),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    ipo_id: Mapped[UUID] = mapped_column(ForeignKey("ipos.id"))
    seller_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    serials: Mapped[Range[int]] = mapped_column(INT8RANGE)
    quantity: Mapped[int] = mapped_column(BigInteger)
    unit_price: Mapped[int] = mapped_column(BigInteger)
    total: Mapped[int] = mapped_column(BigInteger)
    status: Mapped[str] = mapped_column(Text)
    hold_id: Mapped[UUID] = mapped_column(ForeignKey("ledger_holds.id"))
    """Reserves the shares, and expires with the listing."""
    buyer_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))
    expires_at: Mapped[datetime] = mapped_column(Instant)
    created_at: Mapped[datetime] = mapped_column(Instant)
    closed_at: Mapped[datetime | None] = mapped_column(Instant)
