"""The tables of domain events and of their readers in this service."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    DateTime,
    Identity,
    PrimaryKeyConstraint,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from audifi.core.db.base import Base


class DomainEvent(Base):
    """An event, written in the transaction of the change that it reports."""

    __tablename__ = "domain_events"
    __table_args__ = (
        PrimaryKeyConstraint("xid", "id"),  # the order of reading
        UniqueConstraint("id"),  # for retention
        CheckConstraint("kind ~ '^[a-z_]{1,30}[.][a-z_]{1,30}$'", name="kind"),
        CheckConstraint("jsonb_typeof(payload) = 'object'", name="payload"),
        CheckConstraint("octet_length(payload::text) <= 4000", name="payload_length"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True))
    xid: Mapped[int] = mapped_column(BigInteger, server_default=text("pg_current_xact_id()::text::bigint"))
    """The transaction that wrote it: an xid8, which fits for the next 2^63 transactions."""
    kind: Mapped[str] = mapped_column(Text)
    """`noun.verb`: `share.moved`."""
    subject_id: Mapped[UUID] = mapped_column()
    """What it happened to."""
    payload: Mapped[dict[str, Any]] = mapped_column(JSONB)
    """Ids and numbers that a reader needs; no personal data."""
    at: Mapped[datetime] = mapped_column(DateTime(timezone=True), index=True)


class DomainEventReader(Base):
    """How far a reader of this service has read."""

    __tablename__ = "domain_event_readers"

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    xid: Mapped[int] = mapped_column(BigInteger)
    id: Mapped[int] = mapped_column(BigInteger)
