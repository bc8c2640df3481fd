"""Tables of subscriptions: prices, subscriptions as Stripe has them, grants, and what was used."""

from datetime import date, datetime
from typing import Literal
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Date, DateTime, ForeignKey, Index, LargeBinary, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from audifi.core.db.base import Base, one_of
from audifi.subscriptions.plans import LimitKey, PaidPlan

type Interval = Literal["month", "year"]
type SubscriptionStatus = Literal[
    "incomplete",
    "incomplete_expired",
    "trialing",
    "active",
    "past_due",
    "canceled",
    "unpaid",
    "paused",
    "unknown",
]
"""Stripe's, as they come; `unknown` is one that Stripe has added since."""

type InvoiceStatus = Literal["draft", "open", "paid", "void", "uncollectible"]
type AdjustmentKind = Literal["refund", "refund_returned", "dispute", "dispute_won"]
type NoticeKind = Literal["payment_failed", "trial_ending", "canceled", "trial_refused"]

Instant = DateTime(timezone=True)
LIVE_STATUSES = ("trialing", "active", "past_due", "unpaid", "paused", "unknown")
LIVE = f"status IN {LIVE_STATUSES}"
"""The condition of a subscription that hasn't ended. An account has one at most."""


class PlanPrice(Base):
    """A price of Stripe's. One that isn't sold any more stays: who pays it keeps it."""

    __tablename__ = "plan_prices"
    __table_args__ = (
        CheckConstraint(one_of("plan", PaidPlan), name="plan"),
        CheckConstraint(one_of('"interval"', Interval), name="interval"),
        CheckConstraint("unit_amount BETWEEN 1 AND 9007199254740991", name="unit_amount"),
        CheckConstraint("char_length(price_id) <= 100 AND char_length(lookup_key) <= 200", name="id_length"),
        CheckConstraint("entitlements_version >= 1", name="entitlements_version"),
    )

    price_id: Mapped[str] = mapped_column(Text, primary_key=True)
    plan: Mapped[str] = mapped_column(Text)
    interval: Mapped[str] = mapped_column(Text)
    currency: Mapped[str] = mapped_column(ForeignKey("ledger_assets.code"))
    unit_amount: Mapped[int] = mapped_column(BigInteger)
    """For one interval, in base units."""
    lookup_key: Mapped[str | None] = mapped_column(Text, unique=True)
    """Such as `pro_month_usd`; null once a newer price has it."""
    entitlements_version: Mapped[int] = mapped_column(BigInteger)
    active: Mapped[bool] = mapped_column()
    """Whether it is sold."""


class Subscription(Base):
    """A subscription as Stripe's API answered when it was asked last."""

    __tablename__ = "subscriptions"
    __table_args__ = (
        CheckConstraint(one_of("plan", PaidPlan) + " AND " + one_of("pending_plan", PaidPlan), name="plan"),
        CheckConstraint(
            one_of('"interval"', Interval) + " AND " + one_of("pending_interval", Interval), name="interval"
        ),
        CheckConstraint(one_of("status", SubscriptionStatus), name="status"),
        CheckConstraint("period_start < period_end", name="period"),
        CheckConstraint("num_nulls(pending_plan, pending_interval, pending_at) IN (0, 3)", name="pending"),
        CheckConstraint("char_length(provider_id) <= 100", name="provider_id_length"),
        Index("uq_subscriptions_live", "user_id", unique=True, postgresql_where=text(LIVE)),
        Index(None, "user_id", "id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    provider_id: Mapped[str] = mapped_column(Text, unique=True)
    """Stripe's."""
    plan: Mapped[str] = mapped_column(Text)
    interval: Mapped[str] = mapped_column(Text)
    price_id: Mapped[str] = mapped_column(ForeignKey("plan_prices.price_id"))
    status: Mapped[str] = mapped_column(Text)
    period_start: Mapped[datetime] = mapped_column(Instant)
    period_end: Mapped[datetime] = mapped_column(Instant)
    trial_end: Mapped[datetime | None] = mapped_column(Instant)
    cancel_at_period_end: Mapped[bool] = mapped_column()
    canceled_at: Mapped[datetime | None] = mapped_column(Instant)
    ended_at: Mapped[datetime | None] = mapped_column(Instant)
    past_due_since: Mapped[datetime | None] = mapped_column(Instant)
    """When the open invoice was finalized; a late event doesn't lengthen the grace."""
    pending_plan: Mapped[str | None] = mapped_column(Text)
    """What it becomes at `pending_at`."""
    pending_interval: Mapped[str | None] = mapped_column(Text)
    pending_at: Mapped[datetime | None] = mapped_column(Instant)
    access_until: Mapped[datetime] = mapped_column(Instant)
    """The plan is in force until then: nothing else is asked."""
    version: Mapped[int] = mapped_column(BigInteger)
    synced_at: Mapped[datetime] = mapped_column(Instant)


class PlanGrant(Base):
    """A plan that an operator gave, as for a sale by hand."""

    __tablename__ = "plan_grants"
    __table_args__ = (
        CheckConstraint(one_of("plan", PaidPlan), name="plan"),
        CheckConstraint("starts_at < ends_at", name="period"),
        CheckConstraint("char_length(operator) <= 100", name="operator_length"),
        CheckConstraint("char_length(reason) BETWEEN 1 AND 200", name="reason_length"),
        Index(None, "user_id", "ends_at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    plan: Mapped[str] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Text)
    granted_by: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))
    """The administrator; null for an operator at a console."""
    operator: Mapped[str | None] = mapped_column(Text)
    starts_at: Mapped[datetime] = mapped_column(Instant)
    ends_at: Mapped[datetime] = mapped_column(Instant)


class UsageCounter(Base):
    """How much of a limit an account uses, with a limit or without: a later downgrade knows."""

    __tablename__ = "usage_counters"
    __table_args__ = (
        CheckConstraint(one_of("key", LimitKey), name="key"),
        CheckConstraint("used >= 0", name="used"),
    )

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"), primary_key=True)
    key: Mapped[str] = mapped_column(Text, primary_key=True)
    period: Mapped[date] = mapped_column(Date, primary_key=True)
    """The first day of the month in UTC; `-infinity` for what counts what exists."""
    used: Mapped[int] = mapped_column(BigInteger)


class UsageUse(Base):
    """One use of a limit, by the id of what was made. It counts until it is released."""

    __tablename__ = "usage_uses"
    __table_args__ = (CheckConstraint(one_of("key", LimitKey), name="key"),)

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"), primary_key=True)
    key: Mapped[str] = mapped_column(Text, primary_key=True)
    ref: Mapped[UUID] = mapped_column(primary_key=True)
    period: Mapped[date] = mapped_column(Date)
    used_at: Mapped[datetime] = mapped_column(Instant)
    released_at: Mapped[datetime | None] = mapped_column(Instant)


class Invoice(Base):
    """An invoice of Stripe's. Kept for 7 years, also of deleted accounts."""

    __tablename__ = "invoices"
    __table_args__ = (
        CheckConstraint(one_of("status", InvoiceStatus), name="status"),
        Index("ix_invoices_user_id", "user_id", "id"),
        CheckConstraint("0 <= refunded AND refunded <= paid", name="refunded"),
        CheckConstraint("0 <= refunded_tax AND refunded_tax <= tax_paid AND tax_paid <= paid", name="tax"),
        CheckConstraint("paid = 0 OR status = 'paid'", name="paid"),
        CheckConstraint("char_length(provider_id) <= 100 AND char_length(number) <= 100", name="id_length"),
        CheckConstraint("char_length(hosted_url) <= 2048", name="hosted_url_length"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    provider_id: Mapped[str] = mapped_column(Text, unique=True)
    """Stripe's."""
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    subscription_id: Mapped[UUID] = mapped_column(ForeignKey("subscriptions.id"))
    number: Mapped[str | None] = mapped_column(Text)
    status: Mapped[str] = mapped_column(Text)
    currency: Mapped[str] = mapped_column(ForeignKey("ledger_assets.code"))
    subtotal: Mapped[int] = mapped_column(BigInteger)
    tax: Mapped[int] = mapped_column(BigInteger)
    total: Mapped[int] = mapped_column(BigInteger)
    paid: Mapped[int] = mapped_column(BigInteger)
    tax_paid: Mapped[int] = mapped_column(BigInteger)
    """The part of `paid` that is tax."""
    refunded: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    refunded_tax: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    attempts: Mapped[int] = mapped_column(BigInteger)
    period_start: Mapped[datetime] = mapped_column(Instant)
    period_end: Mapped[datetime] = mapped_column(Instant)
    paid_at: Mapped[datetime | None] = mapped_column(Instant)
    hosted_url: Mapped[str | None] = mapped_column(Text)
    """Of Stripe's page, on which it is paid."""


class InvoiceAdjustment(Base):
    """What came back of an invoice's money, or came again: a refund, a dispute. Each was posted to the ledger."""

    __tablename__ = "invoice_adjustments"
    __table_args__ = (
        CheckConstraint(one_of("kind", AdjustmentKind), name="kind"),
        CheckConstraint("char_length(provider_id) <= 100", name="provider_id_length"),
        CheckConstraint("amount >= 1 AND tax BETWEEN 0 AND amount", name="amount"),
        Index("ix_invoice_adjustments_invoice_id", "invoice_id"),
    )

    kind: Mapped[str] = mapped_column(Text, primary_key=True)
    provider_id: Mapped[str] = mapped_column(Text, primary_key=True)
    """Of the refund or the dispute."""
    invoice_id: Mapped[UUID] = mapped_column(ForeignKey("invoices.id"))
    amount: Mapped[int] = mapped_column(BigInteger)
    tax: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(Instant)


class TrialUse(Base):
    """The trial of an account. It survives the account, whose row is emptied."""

    __tablename__ = "trial_uses"
    __table_args__ = (CheckConstraint("NOT is_refused OR num_nulls(card_hash, mailbox_hash) = 2", name="refused"),)

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"), primary_key=True)
    card_hash: Mapped[bytes | None] = mapped_column(LargeBinary, unique=True)
    """Keyed hash of Stripe's fingerprint of the card; null where none was given, or the trial was refused."""
    mailbox_hash: Mapped[bytes | None] = mapped_column(LargeBinary, unique=True)
    """The same of the mailbox: an account is no person."""
    subscription_id: Mapped[UUID] = mapped_column(ForeignKey("subscriptions.id", deferrable=True, initially="DEFERRED"))
    """Whose row is written after this: the trial decides about it."""
    used_at: Mapped[datetime] = mapped_column(Instant)
    is_refused: Mapped[bool] = mapped_column()
    """Whether the mailbox or the card has had one. The account isn't offered another."""


class BillingNotice(Base):
    """An e-mail about a subscription that was queued, once."""

    __tablename__ = "billing_notices"
    __table_args__ = (CheckConstraint(one_of("kind", NoticeKind), name="kind"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    """Made of the kind and what it is about: an invoice and an attempt, a subscription. The e-mail has it, too."""
    kind: Mapped[str] = mapped_column(Text)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    created_at: Mapped[datetime] = mapped_column(Instant, index=True)
