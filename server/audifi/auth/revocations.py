"""The sessions that were revoked while their access tokens are still valid, known without a query per request."""

import asyncio
import logging
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Integer, bindparam, literal_column, select

from audifi.auth.models import Session
from audifi.auth.tokens import ACCESS_TOKEN_LIFETIME, LEEWAY
from audifi.core.clock import Clock
from audifi.core.db.database import Database
from audifi.core.db.statements import Statement

logger = logging.getLogger(__name__)

POLL_SECONDS = 1
STALE_SECONDS = 5
COMMIT_DELAY = timedelta(seconds=60)
"""A row can be seen this long after its revoked_at: while its transaction ran, or because a clock is ahead."""
KEEP = ACCESS_TOKEN_LIFETIME + LEEWAY + COMMIT_DELAY
MAX_ROWS = 100_000
TOO_MANY_SECONDS = 30
"""The pause after a poll that found more than that: reading so many takes the event loop's time."""

SESSIONS = Session.__table__


@dataclass(frozen=True, slots=True)
class RevokedSession:
    id: UUID
    revoked_at: datetime | None


class RevokedSessions:
    """A set of session ids. What this process revokes is in it at once; what other machines revoke, within a second.

    It is bounded: an id is forgotten when no access token of its session can be valid any more.
    """

    def __init__(self, database: Database, clock: Clock, *, max_rows: int = MAX_ROWS) -> None:
        self._database = database
        self._clock = clock
        self._max_rows = max_rows
        self._revoked: dict[UUID, datetime] = {}
        self._seen_until: datetime | None = None
        self._polled_at = float("-inf")
        # Not a parameter: PostgreSQL would plan for a limit of a tenth of the rows, and read all sessions for it.
        limit = literal_column(str(max_rows), Integer)
        columns = SESSIONS.c.id, SESSIONS.c.revoked_at
        self._newly_revoked = Statement(select(*columns).where(SESSIONS.c.revoked_at > bindparam("since")).limit(limit))

    def add(self, session_ids: list[UUID], revoked_at: datetime) -> None:
        self._revoked.update(dict.fromkeys(session_ids, revoked_at))

    def __contains__(self, session_id: UUID) -> bool:
        return session_id in self._revoked

    @property
    def is_current(self) -> bool:
        """Whether the last look into the database was in the last 5 s. If not, ask the session's row."""
        return time.monotonic() - self._polled_at < STALE_SECONDS

    async def run(self) -> None:
        """Poll once a second, until cancelled."""
        while True:
            try:
                can_keep_up = await self.poll()
            except Exception as error:  # noqa: BLE001 - until it is back, is_current says so
                logger.warning("revoked sessions unknown; checking rows instead: error=%s", type(error).__name__)
                can_keep_up = True
            await asyncio.sleep(POLL_SECONDS if can_keep_up else TOO_MANY_SECONDS)

    async def poll(self) -> bool:
        """Read what was revoked since the last poll; return False where that is too much."""
        started_at = time.monotonic()
        now = self._clock()
        since = now - KEEP  # what is older matters to no token, however long nobody could look
        if self._seen_until is not None:
            since = max(since, min(self._seen_until, now) - COMMIT_DELAY)  # or the clock was set back
        rows = await self._database.fetch_all(self._newly_revoked, RevokedSession, since=since)
        if len(rows) == self._max_rows:  # leave it to the rows, from now on
            self._polled_at = float("-inf")
            return False
        self._revoked = {id_: at for id_, at in self._revoked.items() if at > now - KEEP}
        self._revoked.update({row.id: row.revoked_at for row in rows if row.revoked_at})
        self._seen_until = now
        self._polled_at = started_at
        return True
