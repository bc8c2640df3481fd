"""The context of the auth service functions, and the audit log."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import insert
from uuid6 import uuid7

from audifi.auth.models import AuthEvent, EventName
from audifi.auth.revocations import RevokedSessions
from audifi.auth.tokens import Keys
from audifi.core.db.database import Database, Transaction
from audifi.core.db.statements import Statement, parameters
from audifi.core.http.client_info import ClientInfo

AUTH_EVENTS = AuthEvent.__table__
EVENT_COLUMNS = ("id", "event", "user_id", "session_id", "detail", "ip", "user_agent", "created_at")
ADD_EVENT = Statement(insert(AUTH_EVENTS).values(parameters(*EVENT_COLUMNS)))


@dataclass(frozen=True, kw_only=True)
class AuthContext:
    """The request's time and client, the database, and the process's keys and revoked sessions."""

    database: Database
    now: datetime
    client: ClientInfo
    keys: Keys
    revoked: RevokedSessions

    @property
    def recorded(self) -> dict[str, Any]:
        """The audit columns that come from the request."""
        return {"ip": self.client.ip, "user_agent": self.client.user_agent, "now": self.now}


async def record_audit_event(
    tx: Transaction,
    context: AuthContext,
    event: EventName,
    *,
    user_id: UUID,
    session_id: UUID | None = None,
    detail: str | None = None,
) -> None:
    """Add an event to the account's audit log, which its owner and operators can read."""
    await tx.execute_many(
        ADD_EVENT, [event_values(context, event, user_id=user_id, session_id=session_id, detail=detail)]
    )


def event_values(
    context: AuthContext, event: EventName, *, user_id: UUID, session_id: UUID | None = None, detail: str | None = None
) -> dict[str, Any]:
    """Return the parameters of `ADD_EVENT`."""
    return {
        "id": uuid7(),
        "event": event,
        "user_id": user_id,
        "session_id": session_id,
        "detail": detail,
        "ip": context.client.ip,
        "user_agent": context.client.user_agent,
        "created_at": context.now,
    }
