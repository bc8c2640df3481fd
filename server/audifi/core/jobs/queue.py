"""Job queue in PostgreSQL: jobs are enqueued in a request's transaction, and run at least once, by any machine.

pgqueuer keeps the queue (docs/decisions/0010-jobs.md); this module gives it connections and decides on retries.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from pgqueuer import Job, PgQueuer, Queries, RetryRequested
from pgqueuer.domain.models import Schedule as PgqueuerSchedule
from pgqueuer.domain.models import TableChangedEvent
from pgqueuer.domain.types import QueueEntrypoint
from pgqueuer.ports.driver import Driver, NotifyCallback
from sqlalchemy import column, literal_column, table

from audifi.core.db.database import Database, Transaction
from audifi.core.db.retention import ExpiredRows
from audifi.core.db.statements import Record
from audifi.core.telemetry.outage_log import OutageLog
from audifi.core.telemetry.redaction import describe_error, format_traceback

logger = logging.getLogger(__name__)

POLL_SECONDS = 5
"""Polling interval; a job that this machine enqueued starts at once."""
HEARTBEAT_TIMEOUT_SECONDS = 30
"""A job without a heartbeat for this long is run by another machine."""
CONCURRENT_JOBS = 20
FIRST_RETRY_SECONDS = 1
LONGEST_RETRY_SECONDS = 60
RESTART_SECONDS = 5
WORKING_SECONDS = 30
"""A worker that runs for so long works: a query fails sooner, by its time limit."""
STOP_TIMEOUT_SECONDS = 3
CANCEL_SECONDS = 1
"""The time in which cancelled jobs are requeued."""

JOBS_KEPT = timedelta(days=30)

type Handler = Callable[[bytes], Awaitable[None]]
type OnResult = Callable[[str, str], None]
"""Called after each attempt with the job type and `succeeded`, `retried` or `failed`."""
type Report = Callable[[BaseException, str, Mapping[str, str]], None]
"""`ErrorReporter`: called with an error, where it happened, and tags."""


def without_values(record: logging.LogRecord) -> bool:
    """Remove the values of rows that PostgreSQL quotes from pgqueuer's log lines."""
    error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
    if error is not None:
        record.msg, record.args, record.exc_info = (
            f"{record.getMessage()}: {describe_error(error)}",
            (),
            None,
        )
    return True


logging.getLogger("pgqueuer").addFilter(without_values)


class PermanentJobError(Exception):
    """A retry can't succeed. The message is logged and must not contain secrets."""


@dataclass(frozen=True, kw_only=True)
class JobType:
    """A name, the handler of its jobs, and the number of attempts."""

    name: str
    handler: Handler
    """Takes the payload. Must be idempotent: jobs run at least once."""
    attempts: int
    """The wait between attempts doubles from a second to a minute. After the last one the job is kept as `failed`."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """What runs at certain times, on one machine."""

    name: str
    cron: str
    """crontab(5), UTC; a sixth field is seconds."""
    run: Callable[[], Awaitable[None]]


class JobQueue:
    """`enqueue` in a request's transaction; `start` and `stop` with the server."""

    def __init__(
        self,
        database: Database,
        *,
        on_result: OnResult = lambda _job_type, _result: None,
        report: Report | None = None,
    ) -> None:
        """Create the queue.

        Args:
            database: the worker's, not the requests'.
            on_result: called after each attempt.
            report: called with the error of a failed job.
        """
        self._driver = DatabaseDriver(database.fetch_sql)
        self._on_result = on_result
        self._report = report
        self._job_types: list[JobType] = []
        self._schedules: list[Schedule] = []
        self._stopping = asyncio.Event()
        self._worker: PgQueuer | None = None
        self._task: asyncio.Task[None] | None = None

    def register(self, job_type: JobType) -> None:
        """Register a job type with the worker."""
        self._job_types.append(job_type)

    @property
    def job_types(self) -> list[str]:
        return [job_type.name for job_type in self._job_types]

    def schedule(self, schedule: Schedule) -> None:
        """Run a coroutine function at certain times."""
        self._schedules.append(schedule)

    async def enqueue(self, tx: Transaction, name: str, *payloads: bytes, priority: int = 0) -> None:
        """Enqueue jobs that start after the commit, and never after a rollback; those of a higher priority first."""
        names, priorities = [name] * len(payloads), [priority] * len(payloads)
        await Queries(DatabaseDriver(tx.fetch_sql)).enqueue(names, list(payloads), priorities)
        tx.after_commit(self.wake)

    def wake(self) -> None:
        """Let the worker of this process look for jobs: a statement has queued some by itself."""
        self._driver.wake()

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Finish jobs for 3 seconds; requeue the rest."""
        assert self._task  # noqa: S101 - start() comes first
        names = [QueueEntrypoint(job_type.name) for job_type in self._job_types]
        try:
            async with asyncio.timeout(STOP_TIMEOUT_SECONDS):
                while await Queries(self._driver).eligible_queued_work(names):  # noqa: ASYNC110 - the queue is elsewhere
                    await asyncio.sleep(0.05)
                self._end()
                await asyncio.wait([self._task])
        except Exception as error:  # noqa: BLE001 - an unavailable database must not keep the server from stopping
            logger.warning("job worker stops with jobs queued: error=%s", type(error).__name__)
        self._end()
        while not self._task.done():
            self._task.cancel()  # the first cancellation may only end pgqueuer's polling, the next one ends its jobs
            await asyncio.wait([self._task], timeout=CANCEL_SECONDS)
        with suppress(asyncio.CancelledError):
            await self._task

    def _end(self) -> None:
        self._stopping.set()
        if self._worker:
            self._worker.shutdown.set()

    async def _run(self) -> None:
        outage = OutageLog(logger, begins="job worker restarts until it works: error=%s", ends="job worker works again")
        while not self._stopping.is_set():
            self._worker = self._make_worker()
            working = asyncio.get_running_loop().call_later(WORKING_SECONDS, outage.record_success)
            try:
                await self._worker.run(
                    dequeue_timeout=timedelta(seconds=POLL_SECONDS),
                    max_concurrent_tasks=CONCURRENT_JOBS,
                    heartbeat_timeout=timedelta(seconds=HEARTBEAT_TIMEOUT_SECONDS),
                    log_aggregation_interval=timedelta(0),
                )
            except Exception as error:  # noqa: BLE001 - jobs stay in the database
                working.cancel()
                outage.record_failure(type(error).__name__)
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), RESTART_SECONDS)

    def _make_worker(self) -> PgQueuer:
        worker = PgQueuer(self._driver)
        for job_type in self._job_types:
            attempt = _attempting(job_type, self._on_result, self._report)
            worker.entrypoint(job_type.name, on_failure="hold")(attempt)
        for schedule in self._schedules:
            worker.schedule(schedule.name, schedule.cron, clean_old=True)(_scheduled(schedule, self._report))
        return worker


def expired_jobs(now: datetime) -> list[ExpiredRows]:
    """Return expired rows of failed jobs and of pgqueuer's log."""
    jobs = table("pgqueuer", column("id"), column("status"), column("updated"))
    log = table("pgqueuer_log", column("id"), column("created"))
    failed = jobs.c.status == literal_column("'failed'")  # the condition of ix_pgqueuer_failed_updated
    return [
        ExpiredRows(table=jobs, by=jobs.c.updated, before=now - JOBS_KEPT, only=failed),
        ExpiredRows(table=log, by=log.c.created, before=now - JOBS_KEPT),
    ]


def _attempting(job_type: JobType, on_result: OnResult, report: Report | None) -> Callable[[Job], Awaitable[None]]:
    def give_up(error: Exception, job: Job) -> None:
        on_result(job_type.name, "failed")
        if report:
            report(error, f"job {job_type.name}", {"job_id": str(job.id)})

    async def attempt(job: Job) -> None:
        try:
            await job_type.handler(job.payload or b"")
            on_result(job_type.name, "succeeded")
        except asyncio.CancelledError:
            raise RetryRequested(reason="the server stopped") from None
        except PermanentJobError as error:
            give_up(error, job)
            logger.error("job failed: id=%d type=%s error=%s", job.id, job_type.name, error)  # noqa: TRY400
            raise
        except Exception as error:  # noqa: BLE001 - the next attempt may succeed
            if job.attempts + 1 >= job_type.attempts:
                give_up(error, job)
                line = "job failed: id=%d type=%s attempts=%d"
                fields = {"exception": format_traceback(error)}  # not exc_info, which shows values
                logger.error(line, job.id, job_type.name, job_type.attempts, extra=fields)  # noqa: TRY400
                # pgqueuer stores the message in a table, so it must not contain values.
                raise PermanentJobError(describe_error(error)) from None
            seconds = min(FIRST_RETRY_SECONDS * 2**job.attempts, LONGEST_RETRY_SECONDS)
            cause = describe_error(error)
            on_result(job_type.name, "retried")
            line = "job will be retried: id=%d type=%s wait_seconds=%d error=%s"
            logger.warning(line, job.id, job_type.name, seconds, cause)
            raise RetryRequested(delay=timedelta(seconds=seconds), reason=cause) from None

    return attempt


def _scheduled(schedule: Schedule, report: Report | None) -> Callable[[PgqueuerSchedule], Awaitable[None]]:
    async def once(_: PgqueuerSchedule) -> None:
        try:
            await schedule.run()
        except Exception as error:  # noqa: BLE001 - the next time comes anyway
            fields = {"exception": format_traceback(error)}  # not exc_info, which shows values
            logger.error("scheduled work failed: name=%s", schedule.name, extra=fields)  # noqa: TRY400
            if report:
                report(error, f"schedule {schedule.name}", {})

    return once


class DatabaseDriver(Driver):
    """pgqueuer's driver: each query takes a connection of the pool, or runs in a request's transaction.

    Works behind PgBouncer, because it doesn't LISTEN: a notification reaches only the worker of this process. Other
    machines poll.
    """

    def __init__(self, fetch: Callable[..., Awaitable[Sequence[Record]]]) -> None:
        self._fetch = fetch
        self._listener: tuple[str, NotifyCallback] | None = None
        self._shutdown = asyncio.Event()

    async def fetch(self, query: str, *args: object) -> list[dict[str, object]]:
        return [dict(record) for record in await self._fetch(query, *args)]

    async def execute(self, query: str, *args: object) -> str:
        await self._fetch(query, *args)
        return ""  # pgqueuer ignores it

    async def notify(self, channel: str, payload: str) -> None:
        if self._listener and self._listener[0] == channel:
            self._listener[1](payload)

    async def add_listener(self, channel: str, callback: NotifyCallback) -> None:
        self._listener = (channel, callback)

    def wake(self) -> None:
        """Wake the worker to look for jobs."""
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
