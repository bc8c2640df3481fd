"""Parse Stripe's prices, subscriptions and invoices, with `payments.stripe_objects.Reader`."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast, get_args

from audifi.payments.stripe_objects import Reader
from audifi.subscriptions.models import Interval, InvoiceStatus, SubscriptionStatus
from audifi.subscriptions.plans import PaidPlan

if TYPE_CHECKING:
    from stripe import StripeObject

STATUSES = get_args(SubscriptionStatus.__value__)
PLANS_BY_KEY: Mapping[str, PaidPlan] = {"pro": "PRO", "enterprise": "ENTERPRISE"}


@dataclass(frozen=True, slots=True, kw_only=True)
class StripePrice:
    """https://docs.stripe.com/api/prices/object"""

    id: str
    lookup_key: str | None
    currency: str
    unit_amount: int
    active: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedPrice:
    """What a schedule changes a subscription to."""

    price_id: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class StripeInvoice:
    """https://docs.stripe.com/api/invoices/object"""

    id: str
    customer: str
    subscription: str | None
    number: str | None
    status: InvoiceStatus
    currency: str
    subtotal: int
    tax: int
    total: int
    due: int
    paid: int
    attempts: int
    is_cycle: bool
    """Whether it is for a further period, not for the first one or a change within one."""
    period_start: datetime
    period_end: datetime
    finalized_at: datetime | None
    paid_at: datetime | None
    hosted_url: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StripeSubscription:
    """https://docs.stripe.com/api/subscriptions/object, with what `FIELDS` expands."""

    id: str
    customer: str
    status: SubscriptionStatus
    item_id: str
    price: StripePrice
    period_start: datetime
    period_end: datetime
    trial_end: datetime | None
    cancel_at_period_end: bool
    canceled_at: datetime | None
    ended_at: datetime | None
    schedule_id: str | None
    planned: PlannedPrice | None
    has_pending_update: bool
    latest_invoice: StripeInvoice | None
    fingerprint: str | None
    """Of the card, the same wherever it is used."""


FIELDS = ["latest_invoice", "schedule", "default_payment_method"]
"""To expand of a subscription."""


def price(thing: "StripeObject | Mapping[str, Any]") -> StripePrice:
    read = Reader(thing)
    return StripePrice(
        id=read.text("id"),
        lookup_key=read.get("lookup_key"),
        currency=read.currency(),
        unit_amount=read.number("unit_amount"),
        active=bool(read.get("active")),
    )


def parse_lookup_key(key: str | None) -> tuple[PaidPlan, Interval] | None:
    """Return what `pro_month_usd` sells; None for a price that is no plan's."""
    plan, _, rest = (key or "").partition("_")
    interval = rest.partition("_")[0]
    if plan not in PLANS_BY_KEY or interval not in get_args(Interval.__value__):
        return None
    return PLANS_BY_KEY[plan], cast("Interval", interval)


def subscription(thing: "StripeObject | Mapping[str, Any]") -> StripeSubscription:
    read = Reader(thing)
    [item] = [Reader(each) for each in read.get("items.data")]  # a plan is one item
    status = read.text("status")
    period_end = item.time("current_period_end")
    method, invoice_read = read.get("default_payment_method"), read.get("latest_invoice")
    card = method.get("card") if isinstance(method, Mapping) else None
    return StripeSubscription(
        id=read.text("id"),
        customer=str(read.reference("customer")),
        status=cast("SubscriptionStatus", status if status in STATUSES else "unknown"),
        item_id=item.text("id"),
        price=price(item.get("price")),
        period_start=item.time("current_period_start"),
        period_end=period_end,
        trial_end=read.time_or_none("trial_end"),
        cancel_at_period_end=bool(read.get("cancel_at_period_end")),
        canceled_at=read.time_or_none("canceled_at"),
        ended_at=read.time_or_none("ended_at"),
        schedule_id=read.reference("schedule"),
        planned=_planned(read.get("schedule"), period_end),
        has_pending_update=read.get("pending_update") is not None,
        latest_invoice=invoice(invoice_read) if isinstance(invoice_read, Mapping) else None,
        fingerprint=card and card.get("fingerprint"),
    )


def _planned(schedule: object, period_end: datetime) -> PlannedPrice | None:
    if not isinstance(schedule, Mapping):
        return None
    for phase in map(Reader, Reader(schedule).get("phases")):
        if (at := phase.time("start_date")) >= period_end:
            [item] = map(Reader, phase.get("items"))
            return PlannedPrice(price_id=str(item.reference("price")), at=at)
    return None


def invoice(thing: "StripeObject | Mapping[str, Any]") -> StripeInvoice:
    read = Reader(thing)
    lines = [Reader(line) for line in read.get("lines.data")]
    return StripeInvoice(
        id=read.text("id"),
        customer=str(read.reference("customer")),
        subscription=read.reference("parent.subscription_details.subscription"),
        number=read.get("number"),
        status=cast("InvoiceStatus", read.text("status")),
        currency=read.currency(),
        subtotal=read.number("subtotal"),
        tax=sum(Reader(each).number("amount") for each in read.get("total_taxes") or []),
        total=read.number("total"),
        due=read.number("amount_due"),
        paid=read.number("amount_paid"),
        attempts=read.number("attempt_count"),
        is_cycle=read.get("billing_reason") == "subscription_cycle",
        # An invoice's own period is the one before, in which its items were added.
        period_start=min((line.time("period.start") for line in lines), default=read.time("period_start")),
        period_end=max((line.time("period.end") for line in lines), default=read.time("period_end")),
        finalized_at=read.time_or_none("status_transitions.finalized_at"),
        paid_at=read.time_or_none("status_transitions.paid_at"),
        hosted_url=read.get("hosted_invoice_url"),
    )
