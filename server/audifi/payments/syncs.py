"""Fetch an object of Stripe's, then write it if the fetch is still the newest (docs/decisions/0042-payments.md).

Events, pages, jobs and operators raise `requested`. A fetch takes the number that it read before, and its
result is written only if no higher number was written. So what was fetched earlier never overwrites what was fetched
later, in whatever order events, pages and machines ask. No lock is held during a call.
"""

# ruff: noqa: S608 - SQL is made of constants

import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger, and_, bindparam, case, select, text, update

from audifi.core.db.database import Database, Transaction
from audifi.core.db.statements import Statement
from audifi.core.http.problems import Problem
from audifi.core.jobs.queue import JobType
from audifi.payments.measures import DROPPED_SYNCS
from audifi.payments.models import Event, Sync

if TYPE_CHECKING:
    from audifi.services import Services

logger = logging.getLogger(__name__)

JOB = "payment_sync"
ATTEMPTS = 8
"""About two minutes. After that the events are `failed`, and the job is queued again every 15 minutes."""
FIRST_LOOK = timedelta(minutes=1)
"""After which a job that was lost is queued again."""
LATER_LOOKS = timedelta(minutes=15)
BATCH = 500
MAX_ERROR_LENGTH = 200

_syncs, _events = Sync.__table__, Event.__table__


@dataclass(frozen=True, kw_only=True)
class SyncKind:
    """A kind of Stripe's objects that is synchronized. A feature lists its own in `Feature.syncs`."""

    name: str
    """Of the kind, such as `subscription`."""
    events: tuple[str, ...]
    """The types of the events about it: `customer.subscription.*`."""
    fetch: Callable[["Services", str], Awaitable[Any]]
    """Return the object of an id; None if it is gone. Called outside a transaction."""
    write: Callable[["Services", Transaction, str, Any], Awaitable[None]]
    """Write what was fetched, which may be the same as the last time."""
    is_connected: bool = False
    """Whether the objects belong to connected accounts. Their ids are `ACCOUNT/ID`, also the account's own."""


class SyncKinds:
    """The kinds of all features."""

    def __init__(self) -> None:
        self._kinds: dict[str, SyncKind] = {}

    def register(self, kinds: Iterable[SyncKind]) -> None:
        self._kinds.update({kind.name: kind for kind in kinds})

    def __getitem__(self, name: str) -> SyncKind:
        return self._kinds[name]

    def following(self, event_type: str, *, is_connected: bool) -> SyncKind | None:
        """Return the kind that an event is about; None if nothing follows it."""
        return next(
            (
                kind
                for kind in self._kinds.values()
                if kind.is_connected == is_connected and any(fnmatchcase(event_type, each) for each in kind.events)
            ),
            None,
        )


QUEUE_JOB = f"""
    INSERT INTO pgqueuer (priority, status, entrypoint, payload)
    SELECT 0, 'queued', '{JOB}', convert_to(kind || ' ' || provider_id, 'UTF8')"""
RAISE = """
    INSERT INTO provider_syncs AS s (kind, provider_id, requested, synced, next_at)
    SELECT kind, provider_id, 1, 0, next_at FROM {source}
    ON CONFLICT (kind, provider_id) DO UPDATE SET requested = s.requested + 1,
        next_at = CASE WHEN s.synced < s.requested THEN s.next_at ELSE excluded.next_at END
    RETURNING kind, provider_id, requested"""
_ASKED = """(SELECT CAST(:kind AS text) AS kind, CAST(:provider_id AS text) AS provider_id,
        CAST(:next_at AS timestamptz) AS next_at) AS asked"""
REQUEST = Statement(
    text(
        f"WITH sync AS ({RAISE.format(source=_ASKED)}), job AS ({QUEUE_JOB} FROM sync) SELECT requested FROM sync"
    ).columns(requested=BigInteger)
)
REQUEST_NOW = Statement(
    text(f"WITH sync AS ({RAISE.format(source=_ASKED)}) SELECT requested FROM sync").columns(requested=BigInteger)
)
REQUEUE = Statement(
    text(f"""
        WITH late AS (
            SELECT kind, provider_id FROM provider_syncs WHERE synced < requested AND next_at <= :now
            ORDER BY next_at LIMIT {BATCH} FOR UPDATE SKIP LOCKED
        ), sync AS (
            UPDATE provider_syncs AS s SET next_at = :next_at FROM late
            WHERE s.kind = late.kind AND s.provider_id = late.provider_id RETURNING s.kind, s.provider_id
        ) {QUEUE_JOB} FROM sync""")
)
_this = and_(_syncs.c.kind == bindparam("sync_kind"), _syncs.c.provider_id == bindparam("sync_id"))
BEHIND = Statement(select(_syncs.c.requested).where(_this, _syncs.c.synced < _syncs.c.requested))
TAKE = Statement(
    update(_syncs)
    .where(_this, _syncs.c.synced < bindparam("fetched", type_=BigInteger))
    .values(synced=bindparam("fetched"), failures=0, last_error=None)
    .returning((_syncs.c.requested == bindparam("fetched")).label("is_newest"))
)
_events_of_this = and_(
    _events.c.sync_kind == bindparam("sync_kind"),
    _events.c.sync_id == bindparam("sync_id"),
    text("status IN ('queued', 'failed')"),
)
EVENTS_DONE = Statement(update(_events).where(_events_of_this).values(status="done", error_code=None))
FAILED = Statement(
    update(_syncs)
    .where(_this)
    .values(failures=_syncs.c.failures + 1, last_error=bindparam("error"), next_at=bindparam("new_next_at"))
)
EVENTS_FAILED = Statement(
    update(_events)
    .where(_events_of_this)
    .values(
        attempts=_events.c.attempts + 1,
        error_code=bindparam("error"),
        status=case((_events.c.attempts + 1 >= ATTEMPTS, "failed"), else_=_events.c.status),
    )
)


@dataclass(frozen=True, slots=True)
class _Taken:
    is_newest: bool


async def request_sync(
    transaction: Transaction, services: "Services", *, kind: str, provider_id: str, now: datetime
) -> None:
    """Have an object fetched and written, by a job that starts after the commit."""
    await transaction.execute(REQUEST, kind=kind, provider_id=provider_id, next_at=now + FIRST_LOOK)
    transaction.after_commit(services.jobs.wake)


async def sync_now(services: "Services", *, kind: str, provider_id: str) -> Any:
    """Fetch an object and write it, for a request that waits for it; return what was fetched.

    Raises:
        Problem: `payments.not_configured`, `payments.provider_unavailable`; a job goes on.
        RefusedError: Stripe refuses the request.
    """
    database = services.database
    requested = await database.write_row(
        REQUEST_NOW, _Requested, kind=kind, provider_id=provider_id, next_at=services.clock() + FIRST_LOOK
    )
    return await _fetch_and_write(services, database, services.syncs[kind], provider_id, requested.requested)


@dataclass(frozen=True, slots=True)
class _Requested:
    requested: int


async def run_sync(services: "Services", *, kind: str, provider_id: str) -> None:
    """Fetch an object and write it, unless it was since the last request.

    Raises:
        Problem, RefusedError: as `sync_now`.
    """
    database = services.background_database
    requested = await database.fetch_value(BEHIND, sync_kind=kind, sync_id=provider_id)
    if requested is not None:
        await _fetch_and_write(services, database, services.syncs[kind], provider_id, requested)


async def requeue_late(services: "Services") -> None:
    """Queue the jobs again of objects that are behind: a job has failed, or was lost."""
    now = services.clock()
    if await services.background_database.execute(REQUEUE, now=now, next_at=now + LATER_LOOKS):
        services.jobs.wake()


def jobs(services: "Services") -> list[JobType]:
    async def handle(payload: bytes) -> None:
        kind, _, provider_id = payload.decode().partition(" ")
        await run_sync(services, kind=kind, provider_id=provider_id)

    return [JobType(name=JOB, handler=handle, attempts=ATTEMPTS)]


async def _fetch_and_write(
    services: "Services", database: Database, kind: SyncKind, provider_id: str, requested: int
) -> Any:
    this = {"sync_kind": kind.name, "sync_id": provider_id}
    try:
        fetched = await kind.fetch(services, provider_id)

        async def write(transaction: Transaction) -> bool:
            taken = await transaction.fetch_one(TAKE, _Taken, **this, fetched=requested)
            if taken is None:
                return False
            await kind.write(services, transaction, provider_id, fetched)
            if taken.is_newest:  # events that arrived meanwhile have raised it
                await transaction.execute(EVENTS_DONE, **this)
            return True

        if not await database.run(write):
            services.metrics.count(DROPPED_SYNCS, kind.name)
    except Exception as error:
        await _record_failure(services, database, this, error)
        raise
    return fetched


async def _record_failure(services: "Services", database: Database, this: dict[str, str], error: Exception) -> None:
    described = (error.code if isinstance(error, Problem) else type(error).__qualname__)[:MAX_ERROR_LENGTH]
    logger.warning("payment sync failed: kind=%s id=%s error=%s", *this.values(), described)

    async def write(transaction: Transaction) -> None:
        await transaction.execute(FAILED, **this, error=described, new_next_at=services.clock() + LATER_LOOKS)
        await transaction.execute(EVENTS_FAILED, **this, error=described)

    await database.run(write)
