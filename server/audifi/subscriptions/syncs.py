"""Synchronization of subscriptions: what Stripe's API returns is written in the sync's transaction."""

import logging
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import and_, bindparam, exists, literal_column, select, text
from uuid6 import uuid7

from audifi.core.db.database import Transaction
from audifi.core.db.statements import Statement
from audifi.payments.measures import DRIFT
from audifi.payments.models import Customer
from audifi.payments.stripe_objects import UnexpectedObjectError
from audifi.payments.syncs import SyncKind
from audifi.subscriptions import access, ends, invoices, notices, prices, trials
from audifi.subscriptions.invoices import SubscriptionId
from audifi.subscriptions.models import (
    LIVE,
    LIVE_STATUSES,
    Invoice,
    InvoiceAdjustment,
    Subscription,
    SubscriptionStatus,
)
from audifi.subscriptions.prices import PriceRow
from audifi.subscriptions.stripe_objects import FIELDS, StripeInvoice, StripeSubscription
from audifi.subscriptions.stripe_objects import invoice as read_invoice
from audifi.subscriptions.stripe_objects import subscription as read_subscription

if TYPE_CHECKING:
    from audifi.services import Services

logger = logging.getLogger(__name__)

TRIAL_NOTICE = timedelta(days=3)

_subscriptions = Subscription.__table__
# The customer's lock lets two subscriptions of an account wait for each other.
LOCK_CUSTOMER = Statement(
    select(Customer.user_id).where(Customer.provider_id == bindparam("customer")).with_for_update(key_share=True)
)
# Locked: a dispute that is being written isn't overwritten.
KNOWN = Statement(
    select(Subscription.id, Subscription.user_id, Subscription.status, Subscription.access_until)
    .where(Subscription.provider_id == bindparam("subscription"))
    .with_for_update(key_share=True)
)
IS_DISPUTED = Statement(
    select(
        exists().where(
            InvoiceAdjustment.kind == "dispute",
            InvoiceAdjustment.invoice_id == Invoice.id,
            Invoice.user_id == bindparam("user_id"),
            Invoice.subscription_id == bindparam("subscription_id"),
        )
    )
)
OTHER_LIVE = Statement(
    select(Subscription.provider_id).where(
        and_(
            Subscription.user_id == bindparam("user_id"),
            Subscription.provider_id != bindparam("subscription"),
            literal_column(LIVE),
        )
    )
)
_NAMES = (
    "id user_id provider_id plan interval price_id status period_start period_end trial_end cancel_at_period_end"
    " canceled_at ended_at past_due_since pending_plan pending_interval pending_at access_until synced_at"
).split()
_KEPT = {"id", "user_id", "provider_id"}
RECORD = Statement(
    text(f"""
        INSERT INTO subscriptions AS s ({", ".join(_NAMES)}, version)
        VALUES ({", ".join(f":{name}" for name in _NAMES)}, 1)
        ON CONFLICT (provider_id) DO UPDATE SET version = s.version + 1,
            {", ".join(f"{name} = excluded.{name}" for name in _NAMES if name not in _KEPT)}""").bindparams(  # noqa: S608
        *(bindparam(name, type_=_subscriptions.c[name].type) for name in _NAMES)
    )
)


@dataclass(frozen=True, slots=True)
class KnownRow:
    id: UUID
    user_id: UUID
    status: SubscriptionStatus
    access_until: datetime


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """A subscription, and the oldest of its open invoices if it is past due."""

    subscription: StripeSubscription
    open_invoice: StripeInvoice | None


async def fetch(services: "Services", provider_id: str) -> Fetched | None:
    thing = await services.stripe.find(
        "subscription_retrieve", lambda v1: v1.subscriptions.retrieve_async(provider_id, {"expand": FIELDS})
    )
    if thing is None:
        return None
    subscription = read_subscription(thing)
    if subscription.status != "past_due":
        return Fetched(subscription=subscription, open_invoice=None)
    page = await services.stripe.call(
        "invoice_list",
        lambda v1: v1.invoices.list_async({"subscription": provider_id, "status": "open", "limit": 100}),
    )
    unpaid = sorted(map(read_invoice, page.data), key=lambda invoice: invoice.finalized_at or services.clock())
    return Fetched(subscription=subscription, open_invoice=unpaid[0] if unpaid else None)


async def _write(services: "Services", transaction: Transaction, provider_id: str, fetched: Fetched | None) -> None:
    now = services.clock()
    if fetched is None:
        await transaction.execute(ends.CANCELED, subscription=provider_id, now=now)
        return
    subscription = fetched.subscription
    user_id = await transaction.fetch_value(LOCK_CUSTOMER, customer=subscription.customer)
    known = await transaction.fetch_one(KNOWN, KnownRow, subscription=provider_id)
    if known is None and user_id is None:
        logger.error("subscription of an unknown customer: id=%s", provider_id)
        transaction.after_commit(lambda: services.metrics.count(DRIFT, "subscription"))
        return
    row = SubscriptionId(known.id, known.user_id) if known else SubscriptionId(uuid7(), user_id)
    refusal = await _refusal(services, transaction, row, subscription, now)
    if refusal:
        subscription = replace(subscription, status="canceled")
    if reason := refusal or _leftover(subscription, known):
        await services.jobs.enqueue(transaction, ends.JOB, f"{reason} {provider_id}".encode())
    await _record(services, transaction, row, replace(fetched, subscription=subscription), known, now)
    if subscription.latest_invoice is not None:
        await invoices.record(services, transaction, subscription.latest_invoice, of=row, now=now)
    await _notify(services, transaction, row, subscription, known, refusal, now)


async def _refusal(
    services: "Services", transaction: Transaction, row: SubscriptionId, subscription: StripeSubscription, now: datetime
) -> ends.Reason | None:
    """Return why a subscription must end at once."""
    is_live = subscription.status in LIVE_STATUSES
    other = {"user_id": row.user_id, "subscription": subscription.id}
    if is_live and await transaction.fetch_value(OTHER_LIVE, **other) is not None:
        logger.error("second subscription of an account is ended: id=%s", subscription.id)
        transaction.after_commit(lambda: services.metrics.count(DRIFT, "subscription"))
        return "duplicate"
    if is_live and await transaction.fetch_value(IS_DISPUTED, user_id=row.user_id, subscription_id=row.id):
        return "dispute"
    if subscription.trial_end is None:
        return None
    is_taken = await trials.take(
        services,
        transaction,
        user_id=row.user_id,
        subscription_id=row.id,
        fingerprint=subscription.fingerprint,
        now=now,
    )
    return "trial" if subscription.status == "trialing" and not is_taken else None


def _leftover(subscription: StripeSubscription, known: KnownRow | None) -> ends.Reason | None:
    """Return `ended` if it has just ended, here or at Stripe, and left an invoice that could still be paid."""
    has_ended = subscription.status == "canceled" and (known is None or known.status in LIVE_STATUSES)
    invoice = subscription.latest_invoice
    return "ended" if has_ended and invoice is not None and invoice.status in ends.UNPAID else None


async def _record(
    services: "Services",
    transaction: Transaction,
    row: SubscriptionId,
    fetched: Fetched,
    known: KnownRow | None,
    now: datetime,
) -> None:
    subscription = fetched.subscription
    price = await _price(transaction, subscription)
    planned = subscription.planned and await prices.find(transaction, subscription.planned.price_id)
    values: dict[str, Any] = {
        name: getattr(subscription, name)
        for name in (
            "status",
            "period_start",
            "period_end",
            "trial_end",
            "cancel_at_period_end",
            "canceled_at",
            "ended_at",
        )
    }
    await transaction.execute(
        RECORD,
        **values,
        id=row.id,
        user_id=row.user_id,
        provider_id=subscription.id,
        plan=price.plan,
        interval=price.interval,
        price_id=price.price_id,
        past_due_since=access.past_due_since(subscription, fetched.open_invoice),
        pending_plan=planned and planned.plan,
        pending_interval=planned and planned.interval,
        pending_at=subscription.planned.at if planned and subscription.planned else None,
        access_until=access.access_until(
            subscription,
            open_invoice=fetched.open_invoice,
            grace=timedelta(days=services.settings.grace_days),
            known=known,
            now=now,
        ),
        synced_at=now,
    )


async def _price(transaction: Transaction, subscription: StripeSubscription) -> PriceRow:
    """
    Raises:
        UnexpectedObjectError: the price is no plan's.
    """
    price = await prices.find(transaction, subscription.price.id)
    if price is None:
        await prices.record(transaction, subscription.price)
        price = await prices.find(transaction, subscription.price.id)
    if price is None:
        raise UnexpectedObjectError("subscription has a price that is no plan's")
    return price


async def _notify(
    services: "Services",
    transaction: Transaction,
    row: SubscriptionId,
    subscription: StripeSubscription,
    known: KnownRow | None,
    refusal: ends.Reason | None,
    now: datetime,
) -> None:
    about: dict[str, Any] = {"ref": subscription.id, "user_id": row.user_id, "now": now}
    if refusal == "trial":
        await notices.notify(services, transaction, kind="trial_refused", **about)
    elif subscription.status == "canceled" and known and known.status in LIVE_STATUSES:
        await notices.notify(services, transaction, kind="canceled", **about)
    elif (
        subscription.status == "trialing"
        and not subscription.cancel_at_period_end
        and subscription.period_end - now <= TRIAL_NOTICE
    ):
        await notices.notify(services, transaction, kind="trial_ending", **about)


SYNC = SyncKind(name="subscription", events=("customer.subscription.*",), fetch=fetch, write=_write)
