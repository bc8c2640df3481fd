"""Deletion of the drafts of an account that is being deleted."""

from uuid import UUID

from sqlalchemy import bindparam, delete, exists, select

from audifi.core.db.database import Transaction
from audifi.core.db.statements import Statement
from audifi.ipos.models import Ipo, IpoAllowlistEntry
from audifi.masters.models import MasterEvent

IPOS, ALLOWLIST = Ipo.__table__, IpoAllowlistEntry.__table__
CAN_GO = (
    (IPOS.c.artist_id == bindparam("artist_id"))
    & (IPOS.c.status == "draft")
    & ~exists().where(MasterEvent.master_id == IPOS.c.master_id, MasterEvent.event == "offered")
)
DELETE = [
    Statement(delete(ALLOWLIST).where(ALLOWLIST.c.ipo_id.in_(select(IPOS.c.id).where(CAN_GO)))),
    Statement(delete(IPOS).where(CAN_GO)),
]


async def delete_drafts(tx: Transaction, artist_id: UUID) -> None:
    """Delete the drafts of masters that were never offered, before the masters. Other offerings are records."""
    for statement in DELETE:
        await tx.execute(statement, artist_id=artist_id)
