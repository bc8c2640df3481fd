"""Deletion of the drafts of an account that is being deleted."""

from uuid import UUID

from sqlalchemy import bindparam, delete, exists, select

from audifi.core.db.database import Transaction
from audifi.core.db.statements import Statement
from audifi.ipos.models import Ipo, IpoAllowlistEntry, IpoEvent

IPOS, ALLOWLIST = Ipo.__table__, IpoAllowlistEntry.__table__
CAN_GO = (
    (IPOS.c.artist_id == bindparam("artist_id"))
    & (IPOS.c.status == "draft")
    & ~exists().where(IpoEvent.ipo_id == IPOS.c.id)  # it was never launched
)
DELETE = [
    Statement(delete(ALLOWLIST).where(ALLOWLIST.c.ipo_id.in_(select(IPOS.c.id).where(CAN_GO)))),
    Statement(delete(IPOS).where(CAN_GO)),
]


async def delete_drafts(tx: Transaction, artist_id: UUID) -> None:
    """Delete the offerings that were never launched, before their masters. The others are financial records."""
    for statement in DELETE:
        await tx.execute(statement, artist_id=artist_id)
