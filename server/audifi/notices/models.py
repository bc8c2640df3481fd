"""Tables of notices."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, DateTime, ForeignKey, Index, Text
from sqlalchemy.orm import Mapped, mapped_column

from audifi.core.db.base import Base, one_of

type NoticeKind = Literal[
    "master_approved",
    "master_rejected",
    "shares_bought",
    "shares_sold",
    "shares_refunded",
    "offering_completed",
    "offering_canceled",
    "payout_paid",
    "payout_failed",
]

Instant = DateTime(timezone=True)


class Notice(Base):
    """What happened to something of an account. It keeps what it says, whatever becomes of the master."""

    __tablename__ = "notices"
    __table_args__ = (
        CheckConstraint(one_of("kind", NoticeKind), name="kind"),
        CheckConstraint("char_length(title) <= 200", name="title_length"),
        CheckConstraint("char_length(reason) <= 500", name="reason_length"),
        CheckConstraint("(amount IS NULL) = (currency IS NULL)", name="currency"),
        Index(None, "user_id", "created_at", "id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)  # derived from the event and the account
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    kind: Mapped[str] = mapped_column(Text)
    master_id: Mapped[UUID | None] = mapped_column()  # not a foreign key: drafts are deleted
    title: Mapped[str | None] = mapped_column(Text)  # the master's
    quantity: Mapped[int | None] = mapped_column(BigInteger)  # shares
    amount: Mapped[int | None] = mapped_column(BigInteger)  # base units
    currency: Mapped[str | None] = mapped_column(ForeignKey("ledger_assets.code"))
    reason: Mapped[str | None] = mapped_column(Text)  # of a rejection
    created_at: Mapped[datetime] = mapped_column(Instant, index=True)
