"""Disputes of deposits by card: what the bank took, and what it gave back.

What moves is the sum of the dispute's balance transactions: it can be a part, or converted. An inquiry moves nothing.
https://docs.stripe.com/disputes/how-disputes-work
"""

from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy import Text, bindparam, exists, select

from audifi.core.db.database import Transaction
from audifi.core.db.statements import Statement
from audifi.funding.disputes import DisputeReport, dispute_reported
from audifi.funding.models import Deposit, DisputeStatus
from audifi.payments import stripe_objects
from audifi.payments.sessions import PROVIDER
from audifi.payments.stripe_objects import Dispute, UnexpectedObjectError
from audifi.payments.syncs import SyncKind, request_sync, sync_now

if TYPE_CHECKING:
    from audifi.services import Services

DUE_SOON = timedelta(days=3)
ENDED = frozenset({"won", "lost", "warning_closed", "prevented"})

CURRENCY = Statement(
    select(Deposit.currency).where(
        Deposit.provider == PROVIDER, Deposit.provider_ref == bindparam("payment_intent", type_=Text)
    )
)

IS_CREDITED = Statement(
    select(
        exists().where(
            Deposit.provider == PROVIDER,
            Deposit.provider_ref == bindparam("payment_intent", type_=Text),
            Deposit.status != "pending",
        )
    )
)


async def _fetch(services: "Services", provider_id: str) -> Dispute | None:
    thing = await services.stripe.find("dispute_retrieve", lambda v1: v1.disputes.retrieve_async(provider_id))
    if thing is None:
        return None
    dispute = stripe_objects.dispute(thing)
    await _credit_first(services, dispute.payment_intent)
    return dispute


async def _credit_first(services: "Services", payment_intent: str | None) -> None:
    """Look at the payment's session, where its event comes later than the dispute's, or never."""
    if payment_intent is None or await services.background_database.fetch_value(
        IS_CREDITED, payment_intent=payment_intent
    ):
        return
    sessions = await services.stripe.call(
        "checkout_list", lambda v1: v1.checkout.sessions.list_async({"payment_intent": payment_intent, "limit": 1})
    )
    for session in sessions.data:
        await sync_now(services, kind="checkout", provider_id=session.id)


async def _write(services: "Services", transaction: Transaction, provider_id: str, dispute: Dispute | None) -> None:
    if dispute is None or dispute.withdrawn == 0:  # an inquiry, or the bank hasn't taken anything yet
        return
    now = services.clock()
    currency = await transaction.fetch_value(CURRENCY, payment_intent=dispute.payment_intent)
    if currency is None:  # of an invoice, or of a payment that isn't ours: `subscriptions` finds out
        await request_sync(transaction, services, kind="invoice_dispute", provider_id=provider_id, now=now)
        return
    if currency != dispute.currency:
        raise UnexpectedObjectError(f"dispute of {currency} has moved {dispute.currency}")
    assert dispute.payment_intent is not None  # noqa: S101 - a deposit has it
    report = DisputeReport(
        provider=PROVIDER,
        deposit_reference=dispute.payment_intent,
        reference=provider_id,
        status=_status(dispute),
        amount=dispute.withdrawn,
    )
    await dispute_reported(transaction, report=report, now=now)


def _status(dispute: Dispute) -> DisputeStatus:
    """Return what it means for the money. Won counts once the bank has given it back."""
    if dispute.reinstated >= dispute.withdrawn:
        return "won"
    return "lost" if dispute.status == "lost" else "open"


SYNC = SyncKind(name="dispute", events=("charge.dispute.*",), fetch=_fetch, write=_write)
