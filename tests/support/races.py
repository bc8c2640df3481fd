"""Two transactions at once, in a given order: the second starts when the first has done its work."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest

from audifi.core.db.database import Database, Transaction, untraced
from audifi.core.http.problems import Problem
from tests.support import databases
from tests.support.waiting import wait_until

type Step = Callable[[Transaction], Awaitable[Any]]
type Work = Callable[[Database], Awaitable[Any]]
"""What begins and commits its own transactions, as a sweep does."""

WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"


@asynccontextmanager
async def uncommitted(database: Database, step: Step) -> AsyncIterator[asyncio.Task[str]]:
    """Run a step in a transaction, which is committed at the end of the block."""
    has_done, may_commit = asyncio.Event(), asyncio.Event()

    async def work() -> str:
        async with database.transaction() as transaction:
            await step(transaction)
            has_done.set()
            await may_commit.wait()
            return "done"

    task = asyncio.create_task(work())
    await has_done.wait()
    yield task
    may_commit.set()
    await task


async def in_order(database: Database, first: Step, second: Step) -> list[str]:
    """Let the second transaction start when the first has done its work, which is committed once the second waits."""

    async def work() -> None:
        async with database.transaction() as transaction:
            await second(transaction)

    async with uncommitted(database, first) as result:
        waiting = asyncio.create_task(outcome(work()))
        async with asyncio.timeout(60):
            while not (waiting.done() or (await database.fetch_sql(WAITING))[0][0]):  # noqa: ASYNC110 - PostgreSQL's
                await asyncio.sleep(0.01)
    return [await result, await waiting]


async def outcome(working: Awaitable[Any]) -> str:
    try:
        await working
    except Problem as problem:
        return problem.code
    return "done"


async def race(database: Database, *, order: str, steps: tuple[Step, Step]) -> list[str]:
    return await in_order(database, *(reversed(steps) if order == "other first" else steps))


@pytest.fixture(params=["one first", "other first"])
def order(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Gate:
    """Stops a thread before its first COMMIT, or another statement, until it is opened."""

    def __init__(self, before: str = "COMMIT") -> None:
        self._before = before
        self.is_reached = threading.Event()
        self._is_open = threading.Event()

    @contextmanager
    def __call__(self, sql: str) -> Iterator[None]:
        if sql.startswith(self._before):
            self.is_reached.set()
            assert self._is_open.wait(120)
        yield

    def open(self) -> None:
        self._is_open.set()


def works_in_order(url: str, first: Work, second: Work) -> list[str]:
    """As `in_order`, for work that commits: the first waits before its first COMMIT."""
    gate = Gate()
    with ThreadPoolExecutor(2) as threads:
        results = [threads.submit(run_work, url, first, gate)]
        wait_until(lambda: gate.is_reached.is_set() or results[0].done(), interval=0.005)
        results.append(threads.submit(run_work, url, second))
        wait_until(lambda: results[1].done() or databases.fetch_value(url, WAITING) != 0, interval=0.005)
        gate.open()
    return [result.result() for result in results]


def run_work(url: str, work: Work, trace: Any = untraced) -> str:
    """Run it on connections of its own; return `done`, or the code of the refusal."""

    async def run() -> str:
        settings = databases.settings_for(url, database_pool_timeout_seconds=60)
        async with Database(settings, pool_size=2, read_pool_size=1, trace=trace) as database:
            return await outcome(work(database))

    return asyncio.run(run())
