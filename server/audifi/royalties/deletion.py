"""Deletion of the statements of an account that is being deleted."""

from uuid import UUID

from sqlalchemy import bindparam, select, text, update

from audifi.core.db.database import Transaction
from audifi.core.db.statements import Statement
from audifi.royalties.queries import STATEMENTS, TOTALS

DISCARD = Statement(
    update(STATEMENTS)
    .where(
        STATEMENTS.c.user_id == bindparam("owner_id"),
        text("royalty_statements.status IN ('parsing', 'suspected_duplicate', 'imported')"),
        ~select(TOTALS.c.id).where(TOTALS.c.statement_id == STATEMENTS.c.id).exists(),
    )
    .values(status="discarded", imported_at=None, lines_expire_at=STATEMENTS.c.created_at)
)


async def discard_statements(tx: Transaction, user_id: UUID) -> None:
    """Discard the statements of which no revenue was recorded: retention deletes them, with their lines.

    Uploads that were begun stay: they are deleted with their files after a day.
    """
    await tx.execute(DISCARD, owner_id=user_id)
