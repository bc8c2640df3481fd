"""What everything that is decided about an account has in common, and its record."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncSession
from uuid6 import uuid7

from audifi.auth.models import AuthEvent, EventName
from audifi.auth.revocations import RevokedSessions
from audifi.auth.tokens import Keys
from audifi.core.http.client_info import Client

# Made once: to build a statement costs more than to send it.
ADD_EVENT = insert(AuthEvent.__table__)


@dataclass(frozen=True, kw_only=True)
class Context:
    """The transaction, the instant, who asks, and what the process holds."""

    session: AsyncSession
    now: datetime
    client: Client
    keys: Keys
    revoked: RevokedSessions


async def record(
    context: Context, event: EventName, *, user_id: UUID, session_id: UUID | None = None, detail: str | None = None
) -> None:
    """Add to what an account's owner and its operators can read."""
    values = {
        "id": uuid7(),
        "event": event,
        "user_id": user_id,
        "session_id": session_id,
        "detail": detail,
        "ip": context.client.ip,
        "user_agent": context.client.user_agent,
        "created_at": context.now,
    }
    await context.session.execute(ADD_EVENT, values)
