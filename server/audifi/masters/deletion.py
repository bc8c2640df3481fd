"""Deletion of the masters of an account that is being deleted."""

from uuid import UUID

from sqlalchemy import bindparam, delete, exists, select, text, update

from audifi.auth.problems import account_not_empty
from audifi.core.db.database import Transaction
from audifi.core.db.statements import Statement
from audifi.masters.models import Master, MasterEvent, MasterUpload

MASTERS = Master.__table__
UPLOADS = MasterUpload.__table__
BELONGS = MASTERS.c.artist_id == bindparam("artist_id")
IS_OVER = text("masters.status IN ('draft', 'rejected', 'archived')") & MASTERS.c.suspended_at.is_(None)
WAS_OFFERED = exists().where(MasterEvent.master_id == MASTERS.c.id, MasterEvent.event == "offered")
CAN_GO = BELONGS & IS_OVER & ~WAS_OFFERED

# Retention deletes their files later.
RELEASE_UPLOADS = Statement(
    update(UPLOADS)
    .where(UPLOADS.c.master_id.in_(select(MASTERS.c.id).where(CAN_GO)))
    .values(master_id=None, status="replaced", failure=None)
)
DELETE = Statement(delete(MASTERS).where(CAN_GO))
REMAINING = Statement(select(MASTERS.c.id).where(BELONGS, ~IS_OVER).limit(1))


async def delete_masters(tx: Transaction, artist_id: UUID) -> None:
    """Delete the account's drafts, rejected and archived masters, with their tracks, confirmations and events.

    Masters that were offered once stay: the records of their offerings point to them.

    Raises:
        Problem: 409 if the account has others.
    """
    await tx.execute(RELEASE_UPLOADS, artist_id=artist_id)
    await tx.execute(DELETE, artist_id=artist_id)
    if await tx.fetch_value(REMAINING, artist_id=artist_id) is not None:
        raise account_not_empty("Archive masters that are submitted or approved. Offered and suspended ones must stay.")
