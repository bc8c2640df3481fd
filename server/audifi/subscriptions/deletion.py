"""Deletion of the subscription and the usage of an account that is being deleted."""

from uuid import UUID

from sqlalchemy import bindparam, delete, exists, literal_column, select

from audifi.auth.problems import account_not_empty
from audifi.core.db.database import Transaction
from audifi.core.db.statements import Statement
from audifi.subscriptions.models import LIVE, PlanGrant, Subscription, UsageCounter, UsageUse

RENEWS = Statement(
    select(
        exists().where(
            Subscription.user_id == bindparam("user_id"),
            literal_column(LIVE),
            Subscription.cancel_at_period_end.is_(False),
        )
    )
)
DELETE = [
    Statement(delete(table).where(table.c.user_id == bindparam("user_id")))
    for table in (UsageUse.__table__, UsageCounter.__table__, PlanGrant.__table__)
]


async def leave_plan(tx: Transaction, user_id: UUID) -> None:
    """Delete the account's grants and what it used. Subscriptions and invoices are financial records, and stay.

    A canceled subscription ends now: a job deletes Stripe's customer.

    Raises:
        Problem: `account.not_empty`, while one renews.
    """
    if await tx.fetch_value(RENEWS, user_id=user_id):
        raise account_not_empty("Cancel the subscription, then delete the account.")
    for statement in DELETE:
        await tx.execute(statement, user_id=user_id)
