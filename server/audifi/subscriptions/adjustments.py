"""Refunds and disputes of paid invoices. Each is posted to the ledger once.

`payments` passes on what isn't a deposit's: the ids are those of refunds and disputes.
"""

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import BigInteger, bindparam, select, update
from sqlalchemy.dialects import postgresql

from audifi.core.db.database import Transaction
from audifi.core.db.statements import Statement, parameters
from audifi.ledger import service as ledger
from audifi.ledger.service import NewTransfer
from audifi.payments import stripe_objects
from audifi.payments.measures import DRIFT
from audifi.payments.stripe_objects import Dispute, Reader
from audifi.payments.syncs import SyncKind
from audifi.subscriptions import ends, invoices, notices
from audifi.subscriptions.models import AdjustmentKind, Invoice, InvoiceAdjustment, Subscription

if TYPE_CHECKING:
    from audifi.services import Services

logger = logging.getLogger(__name__)

SIGNS: dict[AdjustmentKind, int] = {"refund": -1, "refund_returned": 1, "dispute": -1, "dispute_won": 1}
"""Whether the platform loses the amount, or gets it."""

_invoices, _adjustments = Invoice.__table__, InvoiceAdjustment.__table__
LOCK = Statement(
    select(
        _invoices.c.id,
        _invoices.c.user_id,
        _invoices.c.currency,
        _invoices.c.paid,
        _invoices.c.tax_paid,
        _invoices.c.refunded,
        _invoices.c.refunded_tax,
        Subscription.provider_id.label("subscription"),
    )
    .join(Subscription, Subscription.id == _invoices.c.subscription_id)
    .where(_invoices.c.provider_id == bindparam("invoice"))
    .with_for_update(of=_invoices)
)
RECORD = Statement(
    postgresql.insert(_adjustments)
    .values(parameters("kind", "provider_id", "invoice_id", "amount", "tax", "created_at"))
    .on_conflict_do_nothing()
)
TAX_OF = Statement(
    select(_adjustments.c.tax).where(_adjustments.c.kind == "refund", _adjustments.c.provider_id == bindparam("refund"))
)
REFUND = Statement(
    update(_invoices)
    .where(_invoices.c.id == bindparam("paid_id"))
    .values(
        refunded=_invoices.c.refunded + bindparam("more", type_=BigInteger),
        refunded_tax=_invoices.c.refunded_tax + bindparam("more_tax", type_=BigInteger),
    )
)


@dataclass(frozen=True, slots=True)
class PaidRow:
    id: UUID
    user_id: UUID
    currency: str
    paid: int
    tax_paid: int
    refunded: int
    refunded_tax: int
    subscription: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundOfInvoice:
    """A refund, and the invoice that its payment was for; None if it was for none."""

    id: str
    amount: int
    status: str
    invoice: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DisputeOfInvoice:
    """The same of a dispute."""

    dispute: Dispute
    invoice: str | None


async def _invoice_of(services: "Services", payment_intent: str) -> str | None:
    page = await services.stripe.call(
        "invoice_payment_list",
        lambda v1: v1.invoice_payments.list_async(
            {"payment": {"type": "payment_intent", "payment_intent": payment_intent}, "limit": 1}
        ),
    )
    return next((Reader(each).reference("invoice") for each in page.data), None)


async def _fetch_refund(services: "Services", provider_id: str) -> RefundOfInvoice | None:
    thing = await services.stripe.find("refund_retrieve", lambda v1: v1.refunds.retrieve_async(provider_id))
    if thing is None:
        return None
    read = Reader(thing)
    return RefundOfInvoice(
        id=provider_id,
        amount=read.number("amount"),
        status=read.text("status"),
        invoice=await _invoice_of(services, read.text("payment_intent")),
    )


async def _write_refund(
    services: "Services", transaction: Transaction, provider_id: str, refund: RefundOfInvoice | None
) -> None:
    """Post a refund: the tax part is rounded down, and the last refund takes what is left of both."""
    if refund is None:
        return
    invoice = await _find(services, transaction, provider_id, refund.invoice)
    if invoice is None:
        return
    if refund.status == "succeeded":
        is_last = invoice.refunded + refund.amount == invoice.paid
        tax = invoice.tax_paid - invoice.refunded_tax if is_last else refund.amount * invoice.tax_paid // invoice.paid
        if await _post(services, transaction, invoice, "refund", provider_id, refund.amount, tax):
            await transaction.execute(REFUND, paid_id=invoice.id, more=refund.amount, more_tax=tax)
    elif refund.status == "failed":  # after it had succeeded, or not
        tax = await transaction.fetch_value(TAX_OF, refund=provider_id)
        if tax is not None and await _post(
            services, transaction, invoice, "refund_returned", provider_id, refund.amount, tax
        ):
            await transaction.execute(REFUND, paid_id=invoice.id, more=-refund.amount, more_tax=-tax)


async def _fetch_dispute(services: "Services", provider_id: str) -> DisputeOfInvoice | None:
    thing = await services.stripe.find("dispute_retrieve", lambda v1: v1.disputes.retrieve_async(provider_id))
    if thing is None:
        return None
    dispute = stripe_objects.dispute(thing)
    return DisputeOfInvoice(dispute=dispute, invoice=await _invoice_of(services, str(dispute.payment_intent)))


async def _write_dispute(
    services: "Services", transaction: Transaction, provider_id: str, fetched: DisputeOfInvoice | None
) -> None:
    """Post what the bank took, and end the subscription; post what it gave back. The plan doesn't come back.

    As long as Stripe hasn't ended it, each sync of the subscription keeps it ended here, and begins the job anew.
    """
    if fetched is None:
        return
    invoice = await _find(services, transaction, provider_id, fetched.invoice)
    if invoice is None:
        return
    moved = fetched.dispute
    if moved.withdrawn and await _post(services, transaction, invoice, "dispute", provider_id, moved.withdrawn):
        subscription, now = invoice.subscription, services.clock()
        await transaction.execute(ends.CANCELED, subscription=subscription, now=now)
        user_id = invoice.user_id
        await notices.notify(services, transaction, kind="canceled", ref=subscription, user_id=user_id, now=now)
        await services.jobs.enqueue(transaction, ends.JOB, f"dispute {subscription}".encode())
    if moved.reinstated:
        await _post(services, transaction, invoice, "dispute_won", provider_id, moved.reinstated)


async def _find(
    services: "Services", transaction: Transaction, provider_id: str, invoice_id: str | None
) -> PaidRow | None:
    """Lock the invoice, once it is known to be paid."""
    if invoice_id is None:
        logger.error("refund or dispute of a payment that isn't ours: id=%s", provider_id)
        transaction.after_commit(lambda: services.metrics.count(DRIFT, "refund"))
        return None
    invoice = await transaction.fetch_one(LOCK, PaidRow, invoice=invoice_id)
    if invoice is None or not invoice.paid:
        raise LookupError(f"{invoice_id} isn't known to be paid yet")  # tried again
    return invoice


async def _post(
    services: "Services",
    transaction: Transaction,
    invoice: PaidRow,
    kind: AdjustmentKind,
    provider_id: str,
    amount: int,
    tax: int = 0,
) -> bool:
    """Record an adjustment and post it; return False if it was."""
    now = services.clock()
    values = {"kind": kind, "provider_id": provider_id, "amount": amount, "tax": tax}
    if not await transaction.execute(RECORD, **values, invoice_id=invoice.id, created_at=now):
        return False
    sign = SIGNS[kind]
    transfer = NewTransfer(
        kind=f"invoice_{kind}",
        key=f"invoice_{kind}:{provider_id}",
        postings=invoices.postings(invoice.currency, sign * amount, sign * tax),
        reference=provider_id,
    )
    await ledger.post(transaction, transfer=transfer, now=now)
    return True


REFUND_SYNC = SyncKind(name="invoice_refund", events=(), fetch=_fetch_refund, write=_write_refund)
DISPUTE_SYNC = SyncKind(name="invoice_dispute", events=(), fetch=_fetch_dispute, write=_write_dispute)
