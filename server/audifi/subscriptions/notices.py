"""E-mails about subscriptions: each once, however often an event comes. Receipts are Stripe's."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from uuid import NAMESPACE_OID, UUID, uuid5

from sqlalchemy import bindparam, select
from sqlalchemy.dialects import postgresql

from audifi.auth.jobs import send_email
from audifi.auth.models import User
from audifi.core.db.database import Transaction
from audifi.core.db.retention import ExpiredRows
from audifi.core.db.statements import Statement, parameters
from audifi.core.email.paragraphs import Text, compose
from audifi.core.jobs.queue import JobType
from audifi.subscriptions.models import BillingNotice, NoticeKind

if TYPE_CHECKING:
    from audifi.services import Services

JOB = "billing_email"
ATTEMPTS = 12
KEPT = timedelta(days=400)
"""As events are: by then Stripe sends none about the same thing."""

_notices = BillingNotice.__table__
RECORD = Statement(
    postgresql.insert(_notices).values(parameters("id", "kind", "user_id", "created_at")).on_conflict_do_nothing()
)
ADDRESSEE = Statement(select(User.email).where(User.id == bindparam("user_id"), User.deleted_at.is_(None)))


TEXTS: dict[NoticeKind, Text] = {
    "payment_failed": Text(
        subject="Your payment to AudiFi failed",
        paragraphs=(
            "The payment for your plan failed. Your plan goes on for a few days, and the payment is tried again.",
            "Please check your card under Plan and billing.",
        ),
    ),
    "trial_ending": Text(
        subject="Your AudiFi trial ends in 3 days",
        paragraphs=(
            "Your trial ends in 3 days. Then the price of your plan is charged to your card.",
            "If you don't want to go on, cancel under Plan and billing before it ends.",
        ),
    ),
    "canceled": Text(
        subject="Your AudiFi plan has ended",
        paragraphs=(
            "Your plan has ended, and nothing more is charged. Your masters and sessions stay.",
            "You can subscribe again at any time under Plan and billing.",
        ),
    ),
    "trial_refused": Text(
        subject="Your AudiFi trial was not started",
        paragraphs=(
            "There was a trial with this card or mailbox before, so no other one was started. Nothing was charged.",
            "You can subscribe without a trial under Plan and billing.",
        ),
    ),
}


async def notify(
    services: "Services", transaction: Transaction, *, kind: NoticeKind, ref: str, user_id: UUID, now: datetime
) -> None:
    """Queue an e-mail to an account, unless it was queued for the same `ref`."""
    notice_id = uuid5(NAMESPACE_OID, f"{kind}:{ref}")
    if await transaction.execute(RECORD, id=notice_id, kind=kind, user_id=user_id, created_at=now):
        await services.jobs.enqueue(transaction, JOB, f"{kind} {user_id} {notice_id}".encode())


def emails(services: "Services") -> JobType:
    """Return the job that sends such an e-mail, unless the account was deleted."""

    async def send(payload: bytes) -> None:
        kind, user_id, notice_id = payload.decode().split(" ")
        to = await services.background_database.fetch_value(ADDRESSEE, user_id=UUID(user_id))
        if to is None:
            return
        text = TEXTS[kind]  # type: ignore[index] # `notify` has written it
        await send_email(
            services.email_sender, compose(to, text, message_id=notice_id, purpose=kind, bypasses_unsubscribe=True)
        )

    return JobType(name=JOB, handler=send, attempts=ATTEMPTS)


def expired(now: datetime) -> ExpiredRows:
    return ExpiredRows(table=_notices, by=_notices.c.created_at, before=now - KEPT)
