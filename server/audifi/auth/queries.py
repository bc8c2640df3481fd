"""What is read, a page at a time, the newest first. Ids are UUIDv7, so their order is that of time."""

from dataclasses import dataclass
from datetime import datetime
from ipaddress import IPv4Address, IPv6Address
from uuid import UUID

from sqlalchemy import bindparam, select

from audifi.auth import schemas
from audifi.auth.models import AuthEvent, EventName, Session
from audifi.auth.sessions import is_live
from audifi.core.db.database import Database
from audifi.core.db.statements import Statement
from audifi.core.http.client_info import shortened

NEWEST = UUID(int=2**128 - 1)
"""After every UUIDv7: where a list of the newest begins."""

SESSIONS = Statement(
    select(
        Session.id, Session.created_at, Session.last_used_at, Session.idle_expires_at, Session.user_agent, Session.ip
    )
    .where(Session.user_id == bindparam("user_id"), is_live(bindparam("now")), Session.id < bindparam("before"))
    .order_by(Session.id.desc())
    .limit(bindparam("limit"))
)
EVENTS = Statement(
    select(
        AuthEvent.id,
        AuthEvent.event,
        AuthEvent.created_at,
        AuthEvent.session_id,
        AuthEvent.detail,
        AuthEvent.user_agent,
        AuthEvent.ip,
    )
    .where(AuthEvent.user_id == bindparam("user_id"), AuthEvent.id < bindparam("before"))
    .order_by(AuthEvent.id.desc())
    .limit(bindparam("limit"))
)


@dataclass(frozen=True, slots=True)
class SessionRow:
    id: UUID
    created_at: datetime
    last_used_at: datetime
    idle_expires_at: datetime
    user_agent: str | None
    ip: IPv4Address | IPv6Address | None


@dataclass(frozen=True, slots=True)
class EventRow:
    id: UUID
    event: EventName
    created_at: datetime
    session_id: UUID | None
    detail: str | None
    user_agent: str | None
    ip: IPv4Address | IPv6Address | None


async def sessions(  # noqa: PLR0913
    database: Database, *, user_id: UUID, current: UUID, now: datetime, limit: int, cursor: UUID | None
) -> schemas.SessionPage:
    """Those that haven't ended."""
    rows = await database.fetch_all(
        SESSIONS, SessionRow, user_id=user_id, now=now, before=cursor or NEWEST, limit=limit + 1
    )
    return schemas.SessionPage(
        data=[
            schemas.Session(
                id=row.id,
                current=row.id == current,
                created_at=row.created_at,
                last_used_at=row.last_used_at,
                expires_at=row.idle_expires_at,
                user_agent=row.user_agent,
                ip_prefix=row.ip and shortened(row.ip),
            )
            for row in rows[:limit]
        ],
        next_cursor=str(rows[limit - 1].id) if len(rows) > limit else None,
    )


async def events(database: Database, *, user_id: UUID, limit: int, cursor: UUID | None) -> schemas.EventPage:
    """What happened to an account."""
    rows = await database.fetch_all(EVENTS, EventRow, user_id=user_id, before=cursor or NEWEST, limit=limit + 1)
    return schemas.EventPage(
        data=[
            schemas.Event(
                id=row.id,
                event=row.event,
                created_at=row.created_at,
                session_id=row.session_id,
                detail=row.detail and row.detail.partition(": ")[0],  # what follows is for operators
                user_agent=row.user_agent,
                ip_prefix=row.ip and shortened(row.ip),
            )
            for row in rows[:limit]
        ],
        next_cursor=str(rows[limit - 1].id) if len(rows) > limit else None,
    )
