"""The feature as `audifi.app` lists it."""

from uuid import UUID

from audifi.auth.problems import account_not_empty
from audifi.core.db.database import Transaction
from audifi.core.feature import Feature
from audifi.ledger import jobs, queries
from audifi.ledger.invariants import INVARIANTS
from audifi.ledger.measures import MEASURES
from audifi.ledger.router import router


async def refuse_to_lose_value(transaction: Transaction, user_id: UUID) -> None:
    """
    Raises:
        Problem: `account.not_empty`, while the user has money or shares, or owes something.
    """
    if not await transaction.fetch_value(queries.IS_EMPTY, user_id=user_id):
        raise account_not_empty(
            "Withdraw the money, sell the shares, and pay what is owed: GET /api/v1/ledger/accounts."
        )


FEATURE = Feature(
    name="ledger",
    description="The double-entry ledger: balances, statements, reversals.",
    measures=MEASURES,
    router=router,
    schedules=jobs.schedules,
    invariants=INVARIANTS,
    deletion_guard=refuse_to_lose_value,
    cli="audifi.ledger.cli:ledger",
)
