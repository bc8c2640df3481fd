"""Work that outlives a request: queued in PostgreSQL with what the request writes, done by any machine, at least once.

The queue is pgqueuer's (docs/decisions/0010-jobs.md); here is how it reaches PostgreSQL, and when it tries again.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from pgqueuer import Job, PgQueuer, Queries, RetryRequested
from pgqueuer.domain.models import Schedule, TableChangedEvent
from pgqueuer.domain.types import QueueEntrypoint
from pgqueuer.ports.driver import Driver, NotifyCallback
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession

from audifi.core.http.session import after_commit
from audifi.core.telemetry.error_reporting import ErrorReporter
from audifi.core.telemetry.redaction import describe_error, format_traceback

logger = logging.getLogger(__name__)

POLL_SECONDS = 5
"""How soon another machine's leftovers and retries are seen; a job queued here starts at once."""
HEARTBEAT_TIMEOUT_SECONDS = 30
"""After this, a job of a machine that was killed is anybody's."""
CONCURRENT_JOBS = 20
FIRST_RETRY_SECONDS = 1
LONGEST_RETRY_SECONDS = 60
RESTART_SECONDS = 5
STOP_TIMEOUT_SECONDS = 3
CANCEL_SECONDS = 1
"""For what is cancelled to be put back into the queue."""

type Handler = Callable[[bytes], Awaitable[None]]
type Told = Callable[[str, str], None]
"""Is called after each attempt, with the kind of job, and `succeeded`, `retried` or `failed`."""


def without_values(record: logging.LogRecord) -> bool:
    """What pgqueuer says of an error, without what PostgreSQL quotes of rows in it."""
    error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
    if error is not None:
        record.msg, record.args, record.exc_info = (
            f"{record.getMessage()}: {describe_error(getattr(error, 'orig', error))}",
            (),
            None,
        )
    return True


logging.getLogger("pgqueuer").addFilter(without_values)


class GiveUpError(Exception):
    """Trying again can't help. The message is for the log and holds nothing secret."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of job."""

    name: str
    handler: Handler
    """Gets the payload. May be called again for a job that is done, when a machine dies in the wrong moment."""
    attempts: int
    """In all; the wait between them doubles from a second to a minute. Then the job is kept, as `failed`."""


class Jobs:
    """The queue: `enqueue` in a request's transaction; `start` and `stop` with the server."""

    def __init__(
        self, engine: AsyncEngine, told: Told = lambda _kind, _result: None, report: ErrorReporter | None = None
    ) -> None:
        """
        Args:
            engine: the database's.
            told: called after each attempt.
            report: gets what a job is given up for.
        """
        self._driver = PostgresDriver(engine.begin)
        self._told = told
        self._report = report
        self._kinds: list[Kind] = []
        self._schedules: list[tuple[str, str, Callable[[], Awaitable[None]]]] = []
        self._stopping = asyncio.Event()
        self._worker: PgQueuer | None = None
        self._task: asyncio.Task[None] | None = None

    def register(self, kind: Kind) -> None:
        self._kinds.append(kind)

    @property
    def kinds(self) -> list[str]:
        return [kind.name for kind in self._kinds]

    def schedule(self, name: str, cron: str, run: Callable[[], Awaitable[None]]) -> None:
        """Run it at these times (crontab(5), UTC), on one machine."""
        self._schedules.append((name, cron, run))

    async def enqueue(self, session: AsyncSession, name: str, payload: bytes) -> None:
        """Queue a job that starts when the session's transaction is committed, and never if it is rolled back."""
        await Queries(PostgresDriver.within(await session.connection())).enqueue(name, payload)
        after_commit(session, self._driver.wake)

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Finish what is queued and what runs, in 3 seconds; what isn't done by then is left to be tried again."""
        assert self._task  # noqa: S101 - start() comes first
        names = [QueueEntrypoint(kind.name) for kind in self._kinds]
        try:
            async with asyncio.timeout(STOP_TIMEOUT_SECONDS):
                while await Queries(self._driver).eligible_queued_work(names):  # noqa: ASYNC110 - the queue is elsewhere
                    await asyncio.sleep(0.05)
                self._end()
                await asyncio.wait([self._task])
        except Exception as error:  # noqa: BLE001 - a database that is away must not keep the server from stopping
            logger.warning("jobs are left for later: %s", type(error).__name__)
        self._end()
        while not self._task.done():
            self._task.cancel()  # where pgqueuer looks for work, this has it wait for its jobs: the next one ends them
            await asyncio.wait([self._task], timeout=CANCEL_SECONDS)
        with suppress(asyncio.CancelledError):
            await self._task

    def _end(self) -> None:
        self._stopping.set()
        if self._worker:
            self._worker.shutdown.set()

    async def _run(self) -> None:
        while not self._stopping.is_set():
            self._worker = self._make_worker()
            try:
                await self._worker.run(
                    dequeue_timeout=timedelta(seconds=POLL_SECONDS),
                    max_concurrent_tasks=CONCURRENT_JOBS,
                    heartbeat_timeout=timedelta(seconds=HEARTBEAT_TIMEOUT_SECONDS),
                    log_aggregation_interval=timedelta(0),
                )
            except Exception as error:  # noqa: BLE001 - whatever it is, jobs wait in the database
                logger.warning("jobs wait: %s; trying again in %d s", type(error).__name__, RESTART_SECONDS)
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), RESTART_SECONDS)

    def _make_worker(self) -> PgQueuer:
        worker = PgQueuer(self._driver)
        for kind in self._kinds:
            worker.entrypoint(kind.name, on_failure="hold")(_attempting(kind, self._told, self._report))
        for name, cron, run in self._schedules:
            worker.schedule(name, cron, clean_old=True)(_scheduled(run))
        return worker


def _attempting(kind: Kind, told: Told, report: ErrorReporter | None) -> Callable[[Job], Awaitable[None]]:
    def give_up(error: Exception, job: Job) -> None:
        told(kind.name, "failed")
        if report:
            report(error, f"job {kind.name}", {"job_id": str(job.id)})

    async def attempt(job: Job) -> None:
        try:
            await kind.handler(job.payload or b"")
            told(kind.name, "succeeded")
        except asyncio.CancelledError:
            raise RetryRequested(reason="the server stopped") from None
        except GiveUpError as error:
            give_up(error, job)
            logger.error("job %d, %s, is given up: %s", job.id, kind.name, error)  # noqa: TRY400
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the next attempt may do better
            if job.attempts + 1 >= kind.attempts:
                give_up(error, job)
                line = "job %d, %s, is given up after %d attempts"
                facts = {"exception": format_traceback(error)}  # not by exc_info, which shows values
                logger.error(line, job.id, kind.name, kind.attempts, extra=facts)  # noqa: TRY400
                # pgqueuer keeps what an error says, in a table; so not the error itself.
                raise GiveUpError(describe_error(error)) from None
            seconds = min(FIRST_RETRY_SECONDS * 2**job.attempts, LONGEST_RETRY_SECONDS)
            cause = describe_error(error)
            told(kind.name, "retried")
            logger.warning("job %d, %s, has failed: %s; again in %d s", job.id, kind.name, cause, seconds)
            raise RetryRequested(delay=timedelta(seconds=seconds), reason=cause) from None

    return attempt


def _scheduled(run: Callable[[], Awaitable[None]]) -> Callable[[Schedule], Awaitable[None]]:
    async def once(_: Schedule) -> None:
        await run()

    return once


class PostgresDriver(Driver):
    """pgqueuer's way to PostgreSQL: a transaction for each query, on the pool that requests use, or in one of theirs.

    It works behind PgBouncer, where LISTEN doesn't, and needs no connection of its own: a notification only goes to the
    worker in this process. Others poll.
    """

    def __init__(self, begin: Callable[[], AbstractAsyncContextManager[AsyncConnection]]) -> None:
        self._begin = begin
        self._listener: tuple[str, NotifyCallback] | None = None
        self._shutdown = asyncio.Event()

    @classmethod
    def within(cls, connection: AsyncConnection) -> Self:
        """In the transaction that is open there."""
        return cls(lambda: nullcontext(connection))

    async def fetch(self, query: str, *args: object) -> list[dict[str, object]]:
        async with self._begin() as connection:
            return [dict(row) for row in (await connection.exec_driver_sql(query, args)).mappings()]

    async def execute(self, query: str, *args: object) -> str:
        async with self._begin() as connection:
            return str((await connection.exec_driver_sql(query, args)).rowcount)

    async def notify(self, channel: str, payload: str) -> None:
        if self._listener and self._listener[0] == channel:
            self._listener[1](payload)

    async def add_listener(self, channel: str, callback: NotifyCallback) -> None:
        self._listener = (channel, callback)

    def wake(self) -> None:
        """Have the worker look into the queue now."""
        if self._listener:
            channel, callback = self._listener
            event = TableChangedEvent(
                channel=channel, sent_at=datetime.now(UTC), type="table_changed_event", operation="insert", table=""
            )
            callback(event.model_dump_json())

    @property
    def shutdown(self) -> asyncio.Event:
        return self._shutdown

    @property
    def tm(self) -> Any:
        raise NotImplementedError  # for background tasks of a driver; this one has none

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None: ...
