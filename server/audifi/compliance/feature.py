"""The feature as `audifi.app` lists it."""

from uuid import UUID

from audifi.auth.problems import account_not_empty
from audifi.compliance.invariants import INVARIANTS
from audifi.compliance.queries import ACCOUNT, AccountRow
from audifi.compliance.router import router
from audifi.core.db.database import Transaction
from audifi.core.feature import Feature


async def refuse_to_lose_freeze(transaction: Transaction, user_id: UUID) -> None:
    """
    Raises:
        Problem: `account.not_empty`, while the account is frozen.
    """
    row = await transaction.fetch_one(ACCOUNT, AccountRow, user_id=user_id)
    if row and row.frozen_at:
        raise account_not_empty("The account is frozen. Contact support.")


FEATURE = Feature(
    name="compliance",
    description="Rules that administrators switch on: verification, countries, limits; and frozen accounts.",
    router=router,
    invariants=INVARIANTS,
    deletion_guard=refuse_to_lose_freeze,
    cli="audifi.compliance.cli:compliance",
)
