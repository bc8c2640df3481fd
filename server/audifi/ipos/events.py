"""What happened to an offering, and who did it."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import insert
from uuid6 import uuid7

from audifi.core.db.database import Transaction
from audifi.core.db.statements import Statement
from audifi.ipos.models import EventName, IpoEvent

RECORD = Statement(insert(IpoEvent.__table__))


@dataclass(frozen=True, kw_only=True)
class Actor:
    """The account or the operator that changes an offering; the clock is neither."""

    user_id: UUID | None = None
    name: str | None = None
    reason: str | None = None


CLOCK = Actor()


async def record(tx: Transaction, event: EventName, *, ipo_id: UUID, by: Actor, now: datetime) -> None:
    """Record a change in its transaction."""
    await tx.execute(
        RECORD,
        id=uuid7(),
        ipo_id=ipo_id,
        event=event,
        user_id=by.user_id,
        actor=by.name,
        detail=by.reason,
        created_at=now,
    )
