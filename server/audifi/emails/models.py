from datetime import datetime
from typing import Literal, get_args
from uuid import UUID

from sqlalchemy import CheckConstraint, DateTime, ForeignKey, Index, LargeBinary, Text
from sqlalchemy.orm import Mapped, mapped_column

from audifi.core.db.base import Base

type EmailEventName = Literal["delivered", "deferred", "dropped", "bounce", "blocked", "spamreport"]
"""SendGrid's names; `blocked` is its type of bounce that doesn't suppress the address."""

EMAIL_EVENT_NAMES: tuple[str, ...] = get_args(EmailEventName.__value__)
REASON_MAX_LENGTH = 300
Instant = DateTime(timezone=True)


class EmailMessage(Base):
    """An e-mail that was sent, or couldn't be. Its recipient is a keyed hash: enough to find it by the address.

    Without an index on the hash, which each e-mail would pay for: only operators search it, now and then.
    """

    __tablename__ = "email_messages"
    __table_args__ = (
        CheckConstraint("octet_length(address_hash) = 32", name="address_hash_length"),
        CheckConstraint("char_length(purpose) BETWEEN 1 AND 40", name="purpose_length"),
        CheckConstraint(f"char_length(error) <= {REASON_MAX_LENGTH}", name="error_length"),
        CheckConstraint("accepted_at IS NULL OR error IS NULL", name="result"),
        Index(None, "created_at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)  # `Email.message_id`, which SendGrid's events carry
    address_hash: Mapped[bytes] = mapped_column(LargeBinary)
    purpose: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(Instant)
    accepted_at: Mapped[datetime | None] = mapped_column(Instant)  # by the provider, of the last attempt
    error: Mapped[str | None] = mapped_column(Text)  # of the last attempt


class EmailEvent(Base):
    """The newest event of each kind about an e-mail: an event that arrives again changes nothing."""

    __tablename__ = "email_events"
    __table_args__ = (
        CheckConstraint(f"event IN ({', '.join(map(repr, EMAIL_EVENT_NAMES))})", name="event"),
        CheckConstraint(f"char_length(reason) <= {REASON_MAX_LENGTH}", name="reason_length"),
    )

    message_id: Mapped[UUID] = mapped_column(ForeignKey("email_messages.id", ondelete="CASCADE"), primary_key=True)
    event: Mapped[str] = mapped_column(Text, primary_key=True)
    reason: Mapped[str] = mapped_column(Text)  # SendGrid's or the mail server's, without addresses; may be empty
    occurred_at: Mapped[datetime] = mapped_column(Instant)
