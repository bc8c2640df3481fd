"""Invoices of subscriptions: recorded, and posted to the ledger once they are paid.

An invoice's status only goes forwards, so whichever fetch of it is written last changes nothing for the worse.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import Uuid, bindparam, select, text
from uuid6 import uuid7

from audifi.core.db.database import Transaction
from audifi.core.db.statements import Statement
from audifi.ledger import service as ledger
from audifi.ledger.accounts import platform_account, provider_account
from audifi.ledger.service import NewTransfer, Posting
from audifi.payments.syncs import SyncKind, request_sync
from audifi.subscriptions import notices
from audifi.subscriptions.models import Invoice, Subscription
from audifi.subscriptions.stripe_objects import StripeInvoice
from audifi.subscriptions.stripe_objects import invoice as read_invoice

if TYPE_CHECKING:
    from audifi.services import Services

PROVIDER = "stripe"
"""In the ledger."""
RANK = "array_position(ARRAY['draft', 'open', 'uncollectible', 'paid', 'void'], {})"

_invoices = Invoice.__table__
_NAMES = (
    "id provider_id user_id subscription_id number status currency subtotal tax total paid tax_paid attempts"
    " period_start period_end paid_at hosted_url"
).split()
_CHANGING = "number status subtotal tax total paid tax_paid attempts period_start period_end paid_at hosted_url".split()
RECORD = Statement(
    text(f"""
        INSERT INTO invoices AS i ({", ".join(_NAMES)}) VALUES ({", ".join(f":{name}" for name in _NAMES)})
        ON CONFLICT (provider_id) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in _CHANGING)}
        WHERE ({RANK.format("excluded.status")}, excluded.attempts) >= ({RANK.format("i.status")}, i.attempts)
        RETURNING i.id""")  # noqa: S608 - of constants
    .bindparams(*(bindparam(name, type_=_invoices.c[name].type) for name in _NAMES))
    .columns(id=Uuid)
)
SUBSCRIPTION = Statement(
    select(Subscription.id, Subscription.user_id).where(Subscription.provider_id == bindparam("subscription"))
)


@dataclass(frozen=True, slots=True)
class SubscriptionId:
    id: UUID
    user_id: UUID


async def record(
    services: "Services", transaction: Transaction, invoice: StripeInvoice, *, of: SubscriptionId, now: datetime
) -> None:
    """Write an invoice; post what was paid; tell the account of a payment that failed."""
    tax_paid = invoice.tax * invoice.paid // invoice.total if invoice.total > 0 else 0  # rounded down
    await transaction.execute(
        RECORD,
        **{name: getattr(invoice, name) for name in _CHANGING if name != "tax_paid"},
        id=uuid7(),
        provider_id=invoice.id,
        user_id=of.user_id,
        subscription_id=of.id,
        currency=invoice.currency,
        tax_paid=tax_paid,
    )
    if invoice.paid:
        await ledger.post(
            transaction,
            transfer=NewTransfer(
                kind="invoice",
                key=f"invoice:{invoice.id}",
                postings=postings(invoice.currency, invoice.paid, tax_paid),
                reference=invoice.number or "",
                occurred_at=invoice.paid_at,
            ),
            now=now,
        )
    if invoice.status == "open" and invoice.is_cycle and invoice.attempts:
        await notices.notify(
            services,
            transaction,
            kind="payment_failed",
            ref=f"{invoice.id}:{invoice.attempts}",
            user_id=of.user_id,
            now=now,
        )


def postings(currency: str, amount: int, tax: int) -> Sequence[Posting]:
    """Return what a payment moves, or a refund where it is negative."""
    parts = [
        Posting(provider_account(PROVIDER, "external", currency), -amount),
        Posting(platform_account("subscriptions", currency), amount - tax),
        Posting(platform_account("tax", currency), tax),
    ]
    return [part for part in parts if part.amount]


async def _fetch(services: "Services", provider_id: str) -> StripeInvoice | None:
    thing = await services.stripe.find("invoice_retrieve", lambda v1: v1.invoices.retrieve_async(provider_id))
    return read_invoice(thing) if thing is not None else None


async def _write(
    services: "Services", transaction: Transaction, _provider_id: str, invoice: StripeInvoice | None
) -> None:
    if invoice is None or invoice.subscription is None:
        return  # a draft that was deleted, or an invoice that an operator made
    now = services.clock()
    row = await transaction.fetch_one(SUBSCRIPTION, SubscriptionId, subscription=invoice.subscription)
    if row is None:  # its sync writes the newest invoice, and asks for this one again
        await request_sync(transaction, services, kind="subscription", provider_id=invoice.subscription, now=now)
        return
    await record(services, transaction, invoice, of=row, now=now)


SYNC = SyncKind(name="invoice", events=("invoice.*",), fetch=_fetch, write=_write)
