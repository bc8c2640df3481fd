"""The job queue: commit, retries, several machines, shutdown and outages."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pgqueuer import Queries
from pgqueuer.domain.types import QueueEntrypoint

from audifi.core.db.database import Database
from audifi.core.jobs import queue as jobs_module
from audifi.core.jobs.queue import JobQueue, JobType, PermanentJobError, Schedule
from tests.support import databases
from tests.support.waiting import until

JOB_TYPE = "test"
COUNT = "SELECT count(*) FROM pgqueuer"
STATE = "SELECT status::text || ' ' || attempts FROM pgqueuer"


@pytest.fixture
def url(migrated_database_url: str) -> str:
    return migrated_database_url


@asynccontextmanager
async def working(
    database: Database, handler: Callable[[bytes], Awaitable[None]], attempts: int = 3
) -> AsyncIterator[JobQueue]:
    jobs = JobQueue(database)
    jobs.register(JobType(name=JOB_TYPE, handler=handler, attempts=attempts))
    jobs.start()
    yield jobs
    await jobs.stop()


async def enqueue(jobs: JobQueue, database: Database, *payloads: bytes) -> None:
    async with database.transaction() as tx:
        for payload in payloads:
            await jobs.enqueue(tx, JOB_TYPE, payload)


async def fetch(database: Database, query: str) -> Any:
    rows = await database.fetch_sql(query)
    return rows[0][0] if rows else None


async def until_value(database: Database, query: str, value: object) -> None:
    async with asyncio.timeout(20):
        while await fetch(database, query) != value:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


def test_jobs_of_a_higher_priority_start_first(url: str) -> None:
    """They are fetched in batches, so it overtakes all but those of one."""
    done: list[bytes] = []

    async def handler(payload: bytes) -> None:
        done.append(payload)

    async def run() -> None:
        async with databases.connect_pools(url) as database:
            async with database.transaction() as tx:
                await JobQueue(database).enqueue(tx, JOB_TYPE, *[b"low"] * 100, priority=-1)
                await JobQueue(database).enqueue(tx, JOB_TYPE)
                await JobQueue(database).enqueue(tx, JOB_TYPE, b"high")
            async with working(database, handler):
                await until(lambda: len(done) == 101)

    asyncio.run(run())
    assert done.index(b"high") < 50


def test_job_starts_after_the_commit(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs_module, "POLL_SECONDS", 50)  # so the notification starts the job, not polling
    done: list[bytes] = []

    async def handler(payload: bytes) -> None:
        done.append(payload)

    async def run() -> None:
        async with databases.connect_pools(url) as database, working(database, handler) as jobs:
            await asyncio.sleep(0.3)  # until the worker is idle
            async with database.transaction() as tx:
                await jobs.enqueue(tx, JOB_TYPE, b"kept")
                await asyncio.sleep(0.2)
                assert done == []
            await until(lambda: done == [b"kept"])
            with pytest.raises(RuntimeError):
                async with database.transaction() as tx:
                    await jobs.enqueue(tx, JOB_TYPE, b"dropped")
                    raise RuntimeError
            await asyncio.sleep(0.2)
            await until_value(database, COUNT, 0)

    asyncio.run(run())
    assert done == [b"kept"]


def test_failed_attempt_is_retried(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs_module, "FIRST_RETRY_SECONDS", 0.01)
    monkeypatch.setattr(jobs_module, "POLL_SECONDS", 0.2)
    tries = 0

    async def handler(_: bytes) -> None:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise OSError("secret")

    async def run() -> None:
        async with databases.connect_pools(url) as database, working(database, handler) as jobs:
            await enqueue(jobs, database, b"x")
            await until(lambda: tries == 3)
            await until_value(database, COUNT, 0)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("error", "attempts", "sentence"),
    [
        (OSError("secret"), 2, "attempts=2"),
        (PermanentJobError("the link has expired"), 1, "error=the link has expired"),
    ],
)
def test_failed_job_is_kept(
    url: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    attempts: int,
    sentence: str,
) -> None:
    monkeypatch.setattr(jobs_module, "FIRST_RETRY_SECONDS", 0.01)
    tries = 0

    async def handler(_: bytes) -> None:
        nonlocal tries
        tries += 1
        raise error

    async def run() -> None:
        async with databases.connect_pools(url) as database, working(database, handler, attempts=2) as jobs:
            await enqueue(jobs, database, b"x")
            await until_value(database, STATE, f"failed {attempts - 1}")

    asyncio.run(run())
    assert tries == attempts
    assert any(sentence in record.getMessage() and record.levelname == "ERROR" for record in caplog.records)


def test_wait_between_attempts_doubles(url: str) -> None:
    waits = []

    async def handler(_: bytes) -> None:
        raise OSError

    async def run() -> None:
        async with databases.connect_pools(url) as database, working(database, handler, attempts=10) as jobs:
            await enqueue(jobs, database, b"x")
            for attempt in range(1, 5):
                await until_value(database, "SELECT attempts FROM pgqueuer WHERE status = 'queued'", attempt)
                later = await fetch(database, "SELECT extract(epoch FROM execute_after - updated) FROM pgqueuer")
                waits.append(round(float(later)))
                await fetch(database, "UPDATE pgqueuer SET execute_after = now() RETURNING 1")
                jobs._driver.wake()  # noqa: SLF001 - as if the time had passed

    asyncio.run(run())
    assert waits == [1, 2, 4, 8]


def test_two_machines_run_each_job_once(url: str) -> None:
    done: list[bytes] = []

    async def handler(payload: bytes) -> None:
        await asyncio.sleep(0.005)
        done.append(payload)

    async def run() -> None:
        async with (
            databases.connect_pools(url) as database,
            working(database, handler) as first,
            working(database, handler) as second,
        ):
            payloads = [str(number).encode() for number in range(60)]
            await asyncio.gather(enqueue(first, database, *payloads[::2]), enqueue(second, database, *payloads[1::2]))
            await until_value(database, COUNT, 0)
            assert sorted(done) == sorted(payloads)

    asyncio.run(run())


def test_stop_finishes_queued_jobs(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs_module, "STOP_TIMEOUT_SECONDS", 20)
    done: list[bytes] = []

    async def handler(payload: bytes) -> None:
        await asyncio.sleep(0.3)
        done.append(payload)

    async def run() -> None:
        async with databases.connect_pools(url) as database:
            async with working(database, handler) as jobs:
                await enqueue(jobs, database, b"1", b"2")
            assert sorted(done) == [b"1", b"2"]
            assert await fetch(database, COUNT) == 0

    asyncio.run(run())


class SlowQueries(Queries):
    async def eligible_queued_work(self, entrypoints: list[QueueEntrypoint]) -> int:
        await asyncio.sleep(2)
        return await super().eligible_queued_work(entrypoints)


@pytest.mark.parametrize("queries", [Queries, SlowQueries])
def test_stop_requeues_unfinished_jobs(url: str, monkeypatch: pytest.MonkeyPatch, queries: type[Queries]) -> None:
    """Also if the time is up before the worker knows the number of queued jobs."""
    monkeypatch.setattr(jobs_module, "STOP_TIMEOUT_SECONDS", 1)
    monkeypatch.setattr(jobs_module, "Queries", queries)
    started = done = 0

    async def slow(_: bytes) -> None:
        nonlocal started
        started += 1
        await asyncio.sleep(50)

    async def quick(_: bytes) -> None:
        nonlocal done
        done += 1

    async def run() -> None:
        async with databases.connect_pools(url) as database:
            async with working(database, slow) as jobs:
                await enqueue(jobs, database, b"x")
                await until(lambda: started == 1)
                began = asyncio.get_running_loop().time()
            assert asyncio.get_running_loop().time() - began < 20
            assert await fetch(database, STATE) == "queued 1"
            async with working(database, quick):
                await until(lambda: done == 1)

    asyncio.run(run())


def test_jobs_of_a_killed_machine_are_taken_over(url: str) -> None:
    done: list[bytes] = []

    async def handler(payload: bytes) -> None:
        done.append(payload)

    async def run() -> None:
        async with databases.connect_pools(url) as database:
            await enqueue(JobQueue(database), database, b"orphan")
            # The state that a machine leaves if it is killed while running a job.
            picked = "status = 'picked', queue_manager_id = gen_random_uuid(), heartbeat = now() - interval '31 s'"
            await fetch(database, f"UPDATE pgqueuer SET {picked} RETURNING 1")
            async with working(database, handler):
                await until(lambda: done == [b"orphan"])

    asyncio.run(run())


def test_worker_resumes_after_a_database_outage(
    url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(jobs_module, "RESTART_SECONDS", 0.1)
    monkeypatch.setattr(jobs_module, "WORKING_SECONDS", 2)
    caplog.set_level(logging.INFO, "audifi.core.jobs.queue")
    done: list[bytes] = []

    async def handler(payload: bytes) -> None:
        done.append(payload)

    async def run() -> None:
        async with databases.connect_pools(url) as database:
            await database.fetch_sql("ALTER TABLE pgqueuer RENAME TO gone")
            async with working(database, handler) as jobs:
                await until(lambda: "job worker restarts until it works: error=" in caplog.text)
                await database.fetch_sql("ALTER TABLE gone RENAME TO pgqueuer")
                await enqueue(jobs, database, b"x")
                await until(lambda: done == [b"x"])
                await until(lambda: "job worker works again" in caplog.messages)

    asyncio.run(run())
    assert [record.name for record in caplog.records].count("audifi.core.jobs.queue") == 2
    assert "Traceback" not in caplog.text


def test_schedule_runs_on_one_machine_at_a_time(url: str) -> None:
    """On a busy machine pgqueuer may run one twice for a time, but never while it runs."""
    running: list[int] = []
    most = runs = 0
    enough = asyncio.Event()

    async def tick() -> None:
        nonlocal most, runs
        running.append(runs)
        most = max(most, len(running))
        await asyncio.sleep(1.5)  # the other machine looks each second
        running.pop()
        runs += 1
        if runs == 2:
            enough.set()

    async def run() -> None:
        async with databases.connect_pools(url) as database:
            machines = [JobQueue(database) for _ in range(2)]
            for machine in machines:
                machine.schedule(Schedule(name="tick", cron="* * * * * *", run=tick))
                machine.start()
            await asyncio.wait_for(enough.wait(), 60)
            for machine in machines:
                await machine.stop()

    asyncio.run(run())
    assert most == 1


def test_failed_schedule_is_reported_and_runs_again(url: str, caplog: pytest.LogCaptureFixture) -> None:
    reported: list[str] = []

    def report(_error: BaseException, subject: str, _fields: Mapping[str, str]) -> None:
        reported.append(subject)

    async def fail() -> None:
        raise ExceptionGroup("2 failed", [OSError("one"), ValueError("another")])

    async def run() -> None:
        async with databases.connect_pools(url) as database:
            jobs = JobQueue(database, report=report)
            jobs.schedule(Schedule(name="tick", cron="* * * * * *", run=fail))
            jobs.start()
            await until(lambda: len(reported) >= 2)
            await jobs.stop()

    asyncio.run(run())
    assert set(reported) == {"schedule tick"}
    assert "scheduled work failed: name=tick" in caplog.text
    logged = [record.__dict__["exception"] for record in caplog.records if "exception" in record.__dict__]
    assert all(each in logged[0] for each in ("OSError: one", "ValueError: another", "ExceptionGroup: 2 failed"))


def test_pgqueuers_log_contains_no_values(url: str, caplog: pytest.LogCaptureFixture) -> None:
    async def handler(_: bytes) -> None:
        async with databases.connect_pools(url) as database:
            await database.fetch_sql(
                "INSERT INTO users (id, email, email_key, role, created_at)"
                " VALUES (gen_random_uuid(), 'ana@example.com', 'k', 'king', now())"
            )

    async def run() -> None:
        async with databases.connect_pools(url) as database, working(database, handler, attempts=1) as jobs:
            await enqueue(jobs, database, b"x")
            await until_value(database, "SELECT status::text FROM pgqueuer", "failed")

    asyncio.run(run())
    logged = caplog.text + "".join(record.__dict__.get("exception", "") for record in caplog.records)
    assert "CheckViolation" in logged
    assert "ana@example.com" not in logged
    log = databases.fetch_value(url, "SELECT string_agg(traceback::text, '') FROM pgqueuer_log")
    assert "ana@example.com" not in str(log)
