"""Lists of sessions and events, newest first. Ids are UUIDv7, so they sort by time."""

from dataclasses import dataclass
from datetime import datetime
from ipaddress import IPv4Address, IPv6Address
from uuid import UUID

from sqlalchemy import bindparam, select

from audifi.auth import schemas
from audifi.auth.models import AuthEvent, EventName, Session
from audifi.auth.sessions import is_live
from audifi.core.db.pagination import Page, PagedList
from audifi.core.http.client_info import shortened


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


SESSIONS = PagedList(
    "sessions",
    select(
        Session.id, Session.created_at, Session.last_used_at, Session.idle_expires_at, Session.user_agent, Session.ip
    ).where(Session.user_id == bindparam("user_id"), is_live()),
    SessionRow,
    key=Session.id,
    sorts={"id": Session.id},
)
EVENTS = PagedList(
    "activity",
    select(
        AuthEvent.id,
        AuthEvent.event,
        AuthEvent.created_at,
        AuthEvent.session_id,
        AuthEvent.detail,
        AuthEvent.user_agent,
        AuthEvent.ip,
    ).where(AuthEvent.user_id == bindparam("user_id")),
    EventRow,
    key=AuthEvent.id,
    sorts={"id": AuthEvent.id},
)
NEWEST_FIRST = "-id"


def session_page(page: Page[SessionRow], *, current: UUID) -> schemas.SessionPage:
    """Return the response for a page of sessions.

    Args:
        page: the rows.
        current: the request's session.
    """
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
            for row in page.rows
        ],
        next_cursor=page.next_cursor,
    )


def event_page(page: Page[EventRow]) -> schemas.ActivityPage:
    """Return the response for a page of events."""
    return schemas.ActivityPage(
        data=[
            schemas.Event(
                id=row.id,
                event=row.event,
                created_at=row.created_at,
                session_id=row.session_id,
                detail=row.detail and row.detail.partition(": ")[0],  # the rest is for operators
                user_agent=row.user_agent,
                ip_prefix=row.ip and shortened(row.ip),
            )
            for row in page.rows
        ],
        next_cursor=page.next_cursor,
    )
