"""Tables of payments. What they hold of Stripe's objects was fetched from its API, never read from an event."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, DateTime, ForeignKey, Index, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from audifi.core.db.base import Base
from audifi.core.http.schemas import MAX_AMOUNT

type EventStatus = Literal["queued", "done", "ignored", "failed"]
type CheckoutKind = Literal["subscription", "deposit"]
type RefundStatus = Literal["requested", "submitted", "succeeded", "failed"]
type CheckoutStatus = Literal["creating", "open", "complete", "expired", "failed"]

Instant = DateTime(timezone=True)
IS_UNDONE = "status IN ('queued', 'failed')"
IS_LIVE = "status IN ('creating', 'open')"
IS_UNENDED = "status IN ('requested', 'submitted')"


class Customer(Base):
    """An account's customer at Stripe, which has its cards."""

    __tablename__ = "provider_customers"
    __table_args__ = (
        UniqueConstraint("provider_id"),
        CheckConstraint("char_length(provider_id) BETWEEN 1 AND 255", name="provider_id_length"),
    )

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"), primary_key=True)
    provider_id: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(Instant)
    deleted_at: Mapped[datetime | None] = mapped_column(Instant)  # at Stripe, after the account was


class Event(Base):
    """An event that arrived, or was in Stripe's list. Its payload isn't kept: it only says what to look at."""

    __tablename__ = "provider_events"
    __table_args__ = (
        CheckConstraint("status IN ('queued', 'done', 'ignored', 'failed')", name="status"),
        CheckConstraint("(sync_kind IS NULL) = (status = 'ignored')", name="ignored"),
        Index("ix_provider_events_undone", "sync_kind", "sync_id", postgresql_where=text(IS_UNDONE)),
        Index("ix_provider_events_status", "status", "received_at", "event_id"),
        Index("ix_provider_events_received_at", "received_at", "event_id"),
    )

    event_id: Mapped[str] = mapped_column(Text, primary_key=True)
    type: Mapped[str] = mapped_column(Text)
    object_kind: Mapped[str] = mapped_column(Text)
    object_id: Mapped[str] = mapped_column(Text)
    account: Mapped[str | None] = mapped_column(Text)  # the connected account, if it is about one
    livemode: Mapped[bool] = mapped_column()
    api_version: Mapped[str | None] = mapped_column(Text)
    created: Mapped[datetime] = mapped_column(Instant)  # by Stripe's clock
    received_at: Mapped[datetime] = mapped_column(Instant)
    status: Mapped[str] = mapped_column(Text)
    attempts: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    error_code: Mapped[str | None] = mapped_column(Text)
    sync_kind: Mapped[str | None] = mapped_column(Text)  # the row of provider_syncs that it raised
    sync_id: Mapped[str | None] = mapped_column(Text)


class Sync(Base):
    """The number of requests to fetch an object, and the newest request that was done."""

    __tablename__ = "provider_syncs"
    __table_args__ = (
        CheckConstraint("synced BETWEEN 0 AND requested", name="synced"),
        CheckConstraint("char_length(provider_id) BETWEEN 1 AND 255", name="provider_id_length"),
        Index("ix_provider_syncs_behind", "next_at", postgresql_where=text("synced < requested")),
    )

    kind: Mapped[str] = mapped_column(Text, primary_key=True)
    provider_id: Mapped[str] = mapped_column(Text, primary_key=True)
    requested: Mapped[int] = mapped_column(BigInteger)
    synced: Mapped[int] = mapped_column(BigInteger)
    next_at: Mapped[datetime] = mapped_column(Instant)  # when another job is queued, if it is behind by then
    failures: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))  # since the last success
    last_error: Mapped[str | None] = mapped_column(Text)


class Cursor(Base):
    """Up to where a list of Stripe's has been read."""

    __tablename__ = "provider_cursors"

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    position: Mapped[datetime] = mapped_column(Instant)


class Checkout(Base):
    """A Checkout Session: Stripe's page on which an account pays. The row is there before Stripe is asked."""

    __tablename__ = "checkouts"
    __table_args__ = (
        UniqueConstraint("provider_id"),
        CheckConstraint("kind IN ('subscription', 'deposit')", name="kind"),
        CheckConstraint("status IN ('creating', 'open', 'complete', 'expired', 'failed')", name="status"),
        CheckConstraint(f"amount BETWEEN 1 AND {MAX_AMOUNT}", name="amount"),
        CheckConstraint(
            "(kind = 'subscription') = (plan IS NOT NULL AND interval IS NOT NULL AND price_id IS NOT NULL)",
            name="plan",
        ),
        CheckConstraint("interval IN ('month', 'year')", name="interval"),
        CheckConstraint("NOT is_trial OR kind = 'subscription'", name="is_trial"),
        CheckConstraint("status <> 'open' OR (provider_id IS NOT NULL AND url IS NOT NULL)", name="open"),
        CheckConstraint("char_length(url) <= 2048", name="url_length"),
        CheckConstraint("char_length(success_path) <= 2048", name="success_path_length"),
        CheckConstraint("char_length(cancel_path) <= 2048", name="cancel_path_length"),
        Index(
            "uq_checkouts_subscription",
            "user_id",
            unique=True,
            postgresql_where=text(f"kind = 'subscription' AND {IS_LIVE}"),
        ),
        Index("ix_checkouts_user_id", "user_id", "id"),
        Index("ix_checkouts_live", "created_at", postgresql_where=text(IS_LIVE)),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)  # UUIDv7; the idempotency key, and metadata.audifi_id
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    kind: Mapped[str] = mapped_column(Text)
    plan: Mapped[str | None] = mapped_column(Text)
    interval: Mapped[str | None] = mapped_column(Text)
    price_id: Mapped[str | None] = mapped_column(Text)
    is_trial: Mapped[bool] = mapped_column(server_default=text("false"))
    amount: Mapped[int] = mapped_column(BigInteger)
    currency: Mapped[str] = mapped_column(ForeignKey("ledger_assets.code"))
    success_path: Mapped[str] = mapped_column(Text)
    cancel_path: Mapped[str] = mapped_column(Text)
    status: Mapped[str] = mapped_column(Text)
    provider_id: Mapped[str | None] = mapped_column(Text)
    url: Mapped[str | None] = mapped_column(Text)  # of Stripe's page, while it is open
    expires_at: Mapped[datetime] = mapped_column(Instant)
    created_at: Mapped[datetime] = mapped_column(Instant)


class Refund(Base):
    """A part of a deposit that goes back to the card. It is held until it has succeeded or failed."""

    __tablename__ = "deposit_refunds"
    __table_args__ = (
        UniqueConstraint("hold_id"),
        UniqueConstraint("provider_id"),
        UniqueConstraint("transfer_id"),
        UniqueConstraint("returned_by_id"),
        CheckConstraint(f"amount BETWEEN 1 AND {MAX_AMOUNT}", name="amount"),
        CheckConstraint("status IN ('requested', 'submitted', 'succeeded', 'failed')", name="status"),
        CheckConstraint(
            "(transfer_id IS NOT NULL) = (status = 'succeeded' OR returned_by_id IS NOT NULL)", name="transfer"
        ),
        CheckConstraint("returned_by_id IS NULL OR status = 'failed'", name="returned"),
        CheckConstraint("char_length(reason) <= 200", name="reason_length"),
        Index("ix_deposit_refunds_user_id", "user_id", "id"),
        Index("ix_deposit_refunds_unended", "created_at", postgresql_where=text(IS_UNENDED)),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)  # UUIDv7; the idempotency key, and metadata.audifi_id
    deposit_id: Mapped[UUID] = mapped_column(ForeignKey("deposits.id"))
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    amount: Mapped[int] = mapped_column(BigInteger)
    status: Mapped[str] = mapped_column(Text)
    hold_id: Mapped[UUID] = mapped_column(ForeignKey("ledger_holds.id"))
    provider_id: Mapped[str | None] = mapped_column(Text)
    transfer_id: Mapped[UUID | None] = mapped_column(ForeignKey("ledger_transfers.id"))
    returned_by_id: Mapped[UUID | None] = mapped_column(ForeignKey("ledger_transfers.id"))  # failed after it succeeded
    actor_id: Mapped[UUID] = mapped_column()  # the owner, or an admin
    reason: Mapped[str | None] = mapped_column(Text)  # an admin's
    created_at: Mapped[datetime] = mapped_column(Instant)


class PayoutAccount(Base):
    """An account's connected account at Stripe, to which its payouts go."""

    __tablename__ = "payout_accounts"
    __table_args__ = (
        UniqueConstraint("provider_id"),
        CheckConstraint("cardinality(requirements_due) <= 50", name="requirements_due"),
        CheckConstraint("country ~ '^[A-Z]{2}$'", name="country"),
    )

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"), primary_key=True)
    provider_id: Mapped[str] = mapped_column(Text)
    country: Mapped[str] = mapped_column(Text)
    payouts_enabled: Mapped[bool] = mapped_column()
    requirements_due: Mapped[list[str]] = mapped_column(ARRAY(Text))
    synced_at: Mapped[datetime] = mapped_column(Instant)
