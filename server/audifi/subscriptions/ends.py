"""The end of a subscription at Stripe, now: nothing more is charged, and what shouldn't have been is refunded."""

from collections.abc import Awaitable
from functools import partial
from typing import TYPE_CHECKING, Literal

from sqlalchemy import bindparam, literal_column, update

from audifi.core.db.statements import Statement
from audifi.core.jobs.queue import JobType
from audifi.payments.client import RefusedError
from audifi.payments.stripe_objects import Reader
from audifi.payments.syncs import request_sync
from audifi.subscriptions.models import LIVE, Subscription
from audifi.subscriptions.stripe_objects import StripeInvoice
from audifi.subscriptions.stripe_objects import invoice as read_invoice

if TYPE_CHECKING:
    from stripe import Refund, V1Services

    from audifi.services import Services

JOB = "subscription_end"
ATTEMPTS = 12

type Reason = Literal["duplicate", "trial", "dispute", "ended"]
"""It is the account's second one, which is refunded; its trial isn't the first; its payment is disputed; it has ended
with an invoice that could still be paid."""

UNPAID = {"draft", "open"}

_subscriptions = Subscription.__table__
CANCELED = Statement(
    update(_subscriptions)
    .where(_subscriptions.c.provider_id == bindparam("subscription"), literal_column(LIVE))
    .values(
        status="canceled",
        ended_at=bindparam("now"),
        access_until=bindparam("now"),
        synced_at=bindparam("now"),
        version=_subscriptions.c.version + 1,
    )
)


async def cancel(services: "Services", provider_id: str) -> None:
    """Cancel a subscription at Stripe now, without a refund. Any number of times.

    Raises:
        Problem, RefusedError: see `Stripe.call`.
    """
    try:
        await services.stripe.call("subscription_cancel", lambda v1: v1.subscriptions.cancel_async(provider_id))
    except RefusedError as error:
        if not error.is_missing:  # it has ended
            raise


async def end_now(services: "Services", provider_id: str) -> list[StripeInvoice]:
    """Cancel a subscription at Stripe, and void what isn't paid; return all invoices. Any number of times.

    Stripe stops to collect open invoices, but people can still pay them, by old links. It goes on with drafts.

    Raises:
        Problem, RefusedError: see `Stripe.call`.
    """
    await cancel(services, provider_id)
    page = await services.stripe.call(
        "invoice_list", lambda v1: v1.invoices.list_async({"subscription": provider_id, "limit": 100})
    )
    invoices = [read_invoice(each) for each in page.data]
    for invoice in invoices:
        await _void(services, invoice)
    return invoices


async def _void(services: "Services", invoice: StripeInvoice) -> None:
    """Void an invoice, unless it is paid. A draft of a subscription can't be deleted: it is finalized first."""
    if invoice.status == "draft":
        finalized = await services.stripe.call(
            "invoice_finalize", lambda v1: v1.invoices.finalize_invoice_async(invoice.id, {"auto_advance": False})
        )
        invoice = read_invoice(finalized)  # paid by that, where nothing is due
    if invoice.status == "open":
        await services.stripe.call("invoice_void", lambda v1: v1.invoices.void_invoice_async(invoice.id))


async def refund(services: "Services", invoice: StripeInvoice) -> None:
    """Refund all of a paid invoice, once. The events of the refund bring it here."""
    page = await services.stripe.call(
        "invoice_payment_list",
        lambda v1: v1.invoice_payments.list_async({"invoice": invoice.id, "status": "paid", "limit": 10}),
    )
    for intent in filter(None, (Reader(each).reference("payment.payment_intent") for each in page.data)):
        made = await services.stripe.call("refund_create", partial(_refund, intent=intent))
        async with services.background_database.transaction() as transaction:
            now = services.clock()
            await request_sync(transaction, services, kind="invoice", provider_id=invoice.id, now=now)
            await request_sync(transaction, services, kind="invoice_refund", provider_id=made.id, now=now)


def _refund(v1: "V1Services", intent: str) -> "Awaitable[Refund]":
    key = f"duplicate:{intent}"
    return v1.refunds.create_async({"payment_intent": intent, "reason": "duplicate"}, {"idempotency_key": key})


def jobs(services: "Services") -> JobType:
    """Return the job that ends a subscription which mustn't be."""

    async def run(payload: bytes) -> None:
        reason, _, provider_id = payload.decode().partition(" ")
        for invoice in await end_now(services, provider_id):
            if invoice.paid and reason == "duplicate":
                await refund(services, invoice)
        async with services.background_database.transaction() as transaction:
            now = services.clock()
            await request_sync(transaction, services, kind="subscription", provider_id=provider_id, now=now)

    return JobType(name=JOB, handler=run, attempts=ATTEMPTS)
