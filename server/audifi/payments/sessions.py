"""Ends of Checkout Sessions: the checkout ends, and a deposit is credited, once, if it is paid."""

import logging
from typing import TYPE_CHECKING

from sqlalchemy import bindparam, or_, select, update

from audifi.core.db.database import Transaction
from audifi.core.db.statements import Statement
from audifi.funding import deposits, suspense
from audifi.funding.deposits import Receipt
from audifi.payments.checkouts import COLUMNS, CheckoutRow
from audifi.payments.measures import DRIFT
from audifi.payments.models import Checkout
from audifi.payments.stripe_objects import CheckoutSession, checkout_session
from audifi.payments.syncs import SyncKind, request_sync

if TYPE_CHECKING:
    from audifi.services import Services

logger = logging.getLogger(__name__)

PROVIDER = "stripe"
"""In the ledger, and in `deposits` and `payouts`."""

_checkouts = Checkout.__table__
# By our id, too: an event can arrive before the request has written the session's id.
LOCK = Statement(
    select(*COLUMNS)
    .where(
        or_(
            _checkouts.c.provider_id == bindparam("session_id"),
            (_checkouts.c.id == bindparam("checkout_id", type_=_checkouts.c.id.type))
            & _checkouts.c.provider_id.is_(None),
        )
    )
    .with_for_update()
)
END = Statement(
    update(_checkouts)
    .where(_checkouts.c.id == bindparam("checkout_id"))
    .values(
        status=bindparam("new_status"),
        provider_id=bindparam("session_id"),
        url=bindparam("new_url"),
    )
)


async def _fetch(services: "Services", provider_id: str) -> CheckoutSession | None:
    session = await services.stripe.find(
        "checkout_retrieve",
        lambda v1: v1.checkout.sessions.retrieve_async(provider_id, {"expand": ["payment_intent"]}),
    )
    return checkout_session(session) if session is not None else None


async def _write(
    services: "Services", transaction: Transaction, provider_id: str, session: CheckoutSession | None
) -> None:
    checkout_id = session.audifi_id if session else None
    checkout = await transaction.fetch_one(LOCK, CheckoutRow, session_id=provider_id, checkout_id=checkout_id)
    if checkout is not None:
        status_if_missing = "complete" if checkout.status == "complete" else "expired"
        status = session.status if session else status_if_missing
        await transaction.execute(
            END,
            checkout_id=checkout.id,
            session_id=provider_id,
            new_status=status if status in {"open", "complete"} else "expired",
            new_url=session.url if session and status == "open" else None,
        )
    if session is None or session.status != "complete":
        return
    if session.payment_intent:
        await _credit(services, transaction, session, session.payment_intent, checkout)
    elif session.subscription:
        await request_sync(
            transaction, services, kind="subscription", provider_id=session.subscription, now=services.clock()
        )


async def _credit(
    services: "Services",
    transaction: Transaction,
    session: CheckoutSession,
    payment_intent: str,
    checkout: CheckoutRow | None,
) -> None:
    """Credit a deposit if it is paid. A debit is under way for days before it is; then it is paid, or has failed."""
    if checkout is None or (session.amount, session.currency) != (checkout.amount, checkout.currency):
        if session.is_paid:
            await _suspend(services, transaction, session)
        return
    receipt = Receipt(
        provider=PROVIDER,
        reference=payment_intent,
        user_id=checkout.user_id,
        currency=session.currency,
        amount=session.amount,
    )
    now = services.clock()
    if session.is_paid:
        await deposits.deposit_succeeded(transaction, receipt=receipt, now=now)
    elif session.has_failed:
        await deposits.deposit_failed(transaction, receipt=receipt, now=now)
    else:
        await deposits.deposit_pending(transaction, receipt=receipt, now=now)


async def _suspend(services: "Services", transaction: Transaction, session: CheckoutSession) -> None:
    """Keep money that no row of ours explains, until an operator has found out whose it is."""
    posted = await suspense.keep(
        transaction,
        provider=PROVIDER,
        reference=session.payment_intent or "",
        currency=session.currency,
        amount=session.amount,
        now=services.clock(),
        key=session.id,
    )
    if not posted.is_replay:
        logger.error("payment without a matching checkout is in suspense: session=%s", session.id)
        transaction.after_commit(lambda: services.metrics.count(DRIFT, "suspense"))


SYNC = SyncKind(name="checkout", events=("checkout.session.*",), fetch=_fetch, write=_write)
