"""In-memory set of revoked sessions whose access tokens haven't expired, so that requests need no query."""

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
from audifi.core.telemetry.outage_log import OutageLog

logger = logging.getLogger(__name__)

POLL_SECONDS = 1
STALE_SECONDS = 5
COMMIT_DELAY = timedelta(seconds=60)
"""A row may become visible this long after its revoked_at: its transaction took time, or a clock is ahead."""
KEEP = ACCESS_TOKEN_LIFETIME + LEEWAY + COMMIT_DELAY
MAX_ROWS = 100_000
TOO_MANY_SECONDS = 30
"""The pause after a poll that reached MAX_ROWS: reading so many rows occupies the event loop."""

SESSIONS = Session.__table__


@dataclass(frozen=True, slots=True)
class RevokedSession:
    id: UUID
    revoked_at: datetime | None


class RevokedSessions:
    """A set of session ids: those revoked by this process at once, those revoked by other machines within a second.

    Ids are removed when all access tokens of their sessions have expired.
    """

    def __init__(self, database: Database, clock: Clock, *, max_rows: int = MAX_ROWS) -> None:
        self._database = database
        self._clock = clock
        self._max_rows = max_rows
        self._revoked: dict[UUID, datetime] = {}
        self._seen_until: datetime | None = None
        self._polled_at = float("-inf")
        # Not a parameter: PostgreSQL would assume a limit of a tenth of the rows, and scan all sessions.
        limit = literal_column(str(max_rows), Integer)
        columns = SESSIONS.c.id, SESSIONS.c.revoked_at
        self._newly_revoked = Statement(select(*columns).where(SESSIONS.c.revoked_at > bindparam("since")).limit(limit))

    def add(self, session_ids: list[UUID], revoked_at: datetime) -> None:
        self._revoked.update(dict.fromkeys(session_ids, revoked_at))

    def __contains__(self, session_id: UUID) -> bool:
        return session_id in self._revoked

    @property
    def is_current(self) -> bool:
        """Whether the last poll is at most 5 s old. If not, callers must check the session's row."""
        return time.monotonic() - self._polled_at < STALE_SECONDS

    async def run(self) -> None:
        """Poll once a second, until cancelled."""
        begins = "revoked sessions unknown; checking rows instead: error=%s"
        outage = OutageLog(logger, begins=begins, ends="revoked sessions known again")
        while True:
            try:
                can_keep_up = await self.poll()
            except Exception as error:  # noqa: BLE001 - is_current turns False if this lasts
                outage.record_failure(type(error).__name__)
                can_keep_up = True
            else:
                outage.record_success()
            await asyncio.sleep(POLL_SECONDS if can_keep_up else TOO_MANY_SECONDS)

    async def poll(self) -> bool:
        """Read the sessions revoked since the last poll; return False if there are too many."""
        started_at = time.monotonic()
        now = self._clock()
        since = now - KEEP  # tokens of older revocations have expired
        if self._seen_until is not None:
            since = max(since, min(self._seen_until, now) - COMMIT_DELAY)  # min: the clock may be set back
        rows = await self._database.fetch_all(self._newly_revoked, RevokedSession, since=since)
        if len(rows) == self._max_rows:  # not current any more: callers check rows
            self._polled_at = float("-inf")
            return False
        self._revoked = {id_: at for id_, at in self._revoked.items() if at > now - KEEP}
        self._revoked.update({row.id: row.revoked_at for row in rows if row.revoked_at})
        self._seen_until = now
        self._polled_at = started_at
        return True
