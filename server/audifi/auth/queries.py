"""What is read, a page at a time, the newest first. Ids are UUIDv7, so their order is that of time."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import bindparam, select

from audifi.auth import schemas
from audifi.auth.models import AuthEvent, Session
from audifi.auth.sessions import is_live
from audifi.core.db.database import NEWEST, Query, Reads
from audifi.core.http.client_info import shortened

SESSIONS = Query(
    select(
        Session.id, Session.created_at, Session.last_used_at, Session.idle_expires_at, Session.user_agent, Session.ip
    )
    .where(Session.user_id == bindparam("user_id"), is_live(bindparam("now")), Session.id < bindparam("before"))
    .order_by(Session.id.desc())
    .limit(bindparam("limit"))
)
EVENTS = Query(
    select(*AuthEvent.__table__.columns)
    .where(AuthEvent.user_id == bindparam("user_id"), AuthEvent.id < bindparam("before"))
    .order_by(AuthEvent.id.desc())
    .limit(bindparam("limit"))
)


async def sessions(  # noqa: PLR0913
    reads: Reads, *, user_id: UUID, current: UUID, now: datetime, limit: int, cursor: UUID | None
) -> schemas.SessionPage:
    """Those that haven't ended."""
    rows = await reads.fetch_all(SESSIONS, user_id=user_id, now=now, before=cursor or NEWEST, limit=limit + 1)
    return schemas.SessionPage(
        data=[
            schemas.Session(
                id=row["id"],
                current=row["id"] == current,
                created_at=row["created_at"],
                last_used_at=row["last_used_at"],
                expires_at=row["idle_expires_at"],
                user_agent=row["user_agent"],
                ip_prefix=row["ip"] and shortened(row["ip"]),
            )
            for row in rows[:limit]
        ],
        next_cursor=str(rows[limit - 1]["id"]) if len(rows) > limit else None,
    )


async def events(reads: Reads, *, user_id: UUID, limit: int, cursor: UUID | None) -> schemas.EventPage:
    """What happened to an account."""
    rows = await reads.fetch_all(EVENTS, user_id=user_id, before=cursor or NEWEST, limit=limit + 1)
    return schemas.EventPage(
        data=[
            schemas.Event(
                id=row["id"],
                event=row["event"],
                created_at=row["created_at"],
                session_id=row["session_id"],
                detail=row["detail"] and row["detail"].partition(": ")[0],  # what follows is for operators
                user_agent=row["user_agent"],
                ip_prefix=row["ip"] and shortened(row["ip"]),
            )
            for row in rows[:limit]
        ],
        next_cursor=str(rows[limit - 1]["id"]) if len(rows) > limit else None,
    )
