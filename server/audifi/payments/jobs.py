"""Schedules of payments: resume interrupted requests each minute, and reconcile every 15 minutes and each night."""

from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import bindparam, exists, literal_column, or_, select

from audifi.auth.problems import account_not_empty
from audifi.core.db.database import Transaction
from audifi.core.db.statements import Statement
from audifi.core.jobs.each import for_each
from audifi.core.jobs.queue import JobType, Schedule
from audifi.funding.models import Deposit
from audifi.payments import balances, checkouts, customers, reconciliation, refunds, syncs
from audifi.payments.models import IS_LIVE, Checkout

if TYPE_CHECKING:
    from audifi.services import Services

EVERY_MINUTE = "* * * * *"
EVERY_15_MINUTES = "*/15 * * * *"
EACH_NIGHT, A_WHILE_LATER = "0 2 * * *", "40 2 * * *"
"""In UTC. What the first finds is processed before the second compares."""

IS_PAYING = Statement(
    select(
        exists().where(Checkout.user_id == bindparam("user_id"), literal_column(f"checkouts.{IS_LIVE}"))
        | exists().where(
            Deposit.user_id == bindparam("user_id"), or_(Deposit.status == "pending", Deposit.status == "disputed")
        )
    )
)


def jobs(services: "Services") -> list[JobType]:
    return syncs.jobs(services)


def schedules(services: "Services", *, calm_seconds: float = balances.CALM_SECONDS) -> list[Schedule]:
    async def resume() -> None:
        if services.stripe.is_configured:
            steps = (syncs.requeue_late, checkouts.resume, refunds.resume)
            await for_each(steps, lambda step: step(services))

    async def read_events() -> None:
        if services.stripe.is_configured:
            await reconciliation.read_events(services)

    async def look() -> None:
        if services.stripe.is_configured:
            await for_each((reconciliation.look_at_unended, balances.book_fees), lambda step: step(services))

    async def compare() -> None:
        if services.stripe.is_configured:
            await balances.book_fees(services)
            await balances.check(services, calm_seconds=calm_seconds)

    return [
        Schedule(name="payments_resume", cron=EVERY_MINUTE, run=resume),
        Schedule(name="payments_events", cron=EVERY_15_MINUTES, run=read_events),
        Schedule(name="payments_unended", cron=EACH_NIGHT, run=look),
        Schedule(name="payments_balance", cron=A_WHILE_LATER, run=compare),
    ]


async def leave_payments(transaction: Transaction, user_id: UUID) -> None:
    """Have the account's customer deleted.

    Raises:
        Problem: `account.not_empty`, while money could still come in: a page or dispute is open, or a debit under way.
    """
    if await transaction.fetch_value(IS_PAYING, user_id=user_id):
        raise account_not_empty(
            "A payment page or a dispute is open, or a debit is under way: wait until it has ended."
        )
    await customers.delete_with_account(transaction, user_id=user_id)
