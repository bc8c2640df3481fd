"""Batched checks that sessions and accounts are active.

A check that arrives while a batch is running joins the next batch. Under load, one statement serves many requests;
without load, no check waits.
"""

import asyncio
from contextvars import Context
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, DateTime, Uuid, bindparam, column, func, select
from sqlalchemy.dialects.postgresql import ARRAY

from audifi.auth.models import Role, Session, User
from audifi.core.db.database import Database
from audifi.core.db.statements import Statement

MAX_BATCH = 500

_requests = (
    func.unnest(
        bindparam("session_ids", type_=ARRAY(Uuid)),
        bindparam("user_ids", type_=ARRAY(Uuid)),
        bindparam("times", type_=ARRAY(DateTime(timezone=True))),
    )
    .table_valued(
        column("session_id", Uuid),
        column("user_id", Uuid),
        column("at", DateTime(timezone=True)),
        with_ordinality="position",
    )
    .render_derived(name="request")
)
CHECK = Statement(
    select(
        User.id,
        User.email,
        User.email_key,
        User.display_name,
        User.role,
        User.created_at,
        Session.id.label("session_id"),
        Session.auth_time,
        _requests.c.position.cast(BigInteger).label("position"),
    )
    .select_from(_requests)
    .join(Session, (Session.id == _requests.c.session_id) & (Session.user_id == _requests.c.user_id))
    .join(User, User.id == Session.user_id)
    .where(
        Session.revoked_at.is_(None),
        Session.idle_expires_at > _requests.c.at,
        User.disabled_at.is_(None),
        User.deleted_at.is_(None),
    )
)


@dataclass(frozen=True, slots=True)
class CheckedUser:
    """The account and session of a request, read from their rows."""

    id: UUID
    email: str
    email_key: str
    display_name: str | None
    role: Role
    created_at: datetime
    session_id: UUID
    auth_time: datetime


@dataclass(frozen=True, slots=True)
class CheckRow(CheckedUser):
    position: int


@dataclass(frozen=True, slots=True)
class _Check:
    session_id: UUID
    user_id: UUID
    at: datetime
    result: asyncio.Future[CheckedUser | None]


class SessionChecks:
    """Runs batches of checks, one at a time."""

    def __init__(self, database: Database, *, max_batch: int = MAX_BATCH) -> None:
        self._database = database
        self._max_batch = max_batch
        self._waiting: list[_Check] = []
        self._task: asyncio.Task[None] | None = None

    async def check(self, *, session_id: UUID, user_id: UUID, now: datetime) -> CheckedUser | None:
        """Return the account, or None if the session has ended or the account is suspended or deleted.

        Raises:
            asyncpg.PostgresError, asyncpg.InterfaceError, OSError, PoolTimeoutError: the batch failed.
        """
        result: asyncio.Future[CheckedUser | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Check(session_id, user_id, now, result))
        if self._task is None:
            # An empty context: the batch must not inherit a request's transaction or trace.
            self._task = asyncio.create_task(self._run(), context=Context())
        return await result

    async def _run(self) -> None:
        """Run batches until no check is waiting. Cancelled requests are skipped."""
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[: self._max_batch], self._waiting[self._max_batch :]
                try:
                    users = await self._fetch(batch)
                except Exception as error:  # noqa: BLE001 - each request of the batch gets it
                    _fail(batch, error)
                else:
                    for position, check in enumerate(batch, 1):
                        if not check.result.done():
                            check.result.set_result(users.get(position))
        finally:
            self._task = None

    async def _fetch(self, batch: list[_Check]) -> dict[int, CheckedUser]:
        """Return the accounts by their position in the batch, from 1."""
        rows = await self._database.fetch_all(
            CHECK,
            CheckRow,
            session_ids=[check.session_id for check in batch],
            user_ids=[check.user_id for check in batch],
            times=[check.at for check in batch],
        )
        return {row.position: row for row in rows}


def _fail(batch: list[_Check], error: Exception) -> None:
    for check in batch:
        if not check.result.done():
            check.result.set_exception(error)
