"""Databases of the shared test server, and separate servers for tests that break them."""

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Any
from uuid import uuid4

import asyncpg

from audifi.core.config.settings import DatabaseSettings
from audifi.core.db.database import Database
from dev import postgres
from dev.postgres import Postgres
from tests.support.api import ROOT, environment
from tests.support.waiting import wait_until

TEMPLATE = "audifi_template"

# A test server may lose its data: don't wait for the disk.
FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "200"}

MEMORY = Path("/dev/shm")
MEMORY_MIN_BYTES = 4_000_000_000


def data_folder() -> Path | None:
    """Return a file system in memory, if it has enough space: on a disk, deleting the data takes a minute."""
    is_large = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > MEMORY_MIN_BYTES
    return MEMORY if is_large else None


@contextmanager
def own_server(port: int | None = None, **settings: str) -> Iterator[Postgres]:
    """Run a separate server, outside pytest's folder, which PostgreSQL's user can't read."""
    with (
        TemporaryDirectory(prefix="audifi-tests-", dir=data_folder()) as folder,
        postgres.running(Path(folder) / "postgres", port=port, settings=FAST | settings) as server,
    ):
        yield server


@asynccontextmanager
async def connections_taken(url: str) -> AsyncIterator[None]:
    """Take all connections that the role may have while the block runs."""
    async with AsyncExitStack() as stack:
        with suppress(asyncpg.TooManyConnectionsError):
            while True:
                connection = await asyncpg.connect(url)
                stack.push_async_callback(connection.close)
        yield


@contextmanager
def full(url: str) -> Iterator[None]:
    """Run `connections_taken` for a block that isn't a coroutine."""
    with asyncio.Runner() as runner:
        taken = connections_taken(url)
        runner.run(taken.__aenter__())
        yield
        runner.run(taken.__aexit__(None, None, None))


class Session:
    """A connection to a database, with an event loop."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._runner = asyncio.Runner()
        self._connection: asyncpg.Connection | None = None

    def run[T](self, use: Callable[[asyncpg.Connection], Awaitable[T]]) -> T:
        return self._runner.run(self._run(use))

    async def _run[T](self, use: Callable[[asyncpg.Connection], Awaitable[T]]) -> T:
        await asyncio.sleep(0)  # so that it hears that the server has closed it
        if self._connection is None or self._connection.is_closed():
            self._connection = await asyncpg.connect(self.url, statement_cache_size=0)
        return await use(self._connection)

    def close(self) -> None:
        self._runner.run(self._close())
        self._runner.close()

    async def _close(self) -> None:
        if self._connection:
            self._connection.terminate()  # `close` fails where the server has ended
            await asyncio.sleep(0)  # closes the socket


class IdleSessions:
    """The sessions that were used last, to be used again: opening one takes as long as 60 statements."""

    def __init__(self) -> None:
        self._sessions: list[Session] = []
        self._lock = Lock()

    @contextmanager
    def taken(self, url: str) -> Iterator[Session]:
        """Yield a session that no other thread uses. It is closed if the block fails."""
        with self._lock:
            session = next((session for session in reversed(self._sessions) if session.url == url), None)
            if session:
                self._sessions.remove(session)
        session = session or Session(url)
        try:
            yield session
        except BaseException:
            session.close()
            raise
        with self._lock:
            self._sessions.append(session)
            oldest = self._sessions.pop(0) if len(self._sessions) > IDLE_SESSIONS else None
        if oldest:
            oldest.close()

    def close(self, url: str | None = None) -> None:
        """Close all, or those of one database."""
        for session in [session for session in self._sessions if url in {None, session.url}]:
            self._sessions.remove(session)
            session.close()


IDLE_SESSIONS = 8
idle_sessions = IdleSessions()


def execute(url: str, *statements: str) -> None:
    """Run statements outside a transaction, which CREATE DATABASE requires. They must not change their session."""

    async def run(connection: asyncpg.Connection) -> None:
        for statement in statements:
            await connection.execute(statement)

    with idle_sessions.taken(url) as session:
        session.run(run)


def fetch_value(url: str, query: str, *arguments: object) -> object:
    """Return the first column of the first row."""
    with idle_sessions.taken(url) as session:
        return session.run(lambda connection: connection.fetchval(query, *arguments))


@contextmanager
def holding(url: str, statement: str) -> Iterator[Callable[[], int]]:
    """Hold the locks of a statement while the block runs; yield a function that counts the sessions waiting for a lock.

    It counts the sessions of this database, whatever lock they wait for.
    """
    loop = asyncio.new_event_loop()
    connection = loop.run_until_complete(asyncpg.connect(url))
    count = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    transaction = connection.transaction()
    try:
        loop.run_until_complete(transaction.start())
        loop.run_until_complete(connection.execute(statement))
        yield lambda: int(str(fetch_value(url, count)))
    finally:
        loop.run_until_complete(connection.close())
        loop.close()


def in_order[T](url: str, statement: str, *calls: Callable[[], T]) -> list[T]:
    """Start all calls, and let them go on in this order: each waits for the statement's locks, or ends without them."""
    with ThreadPoolExecutor(len(calls)) as threads:
        results: list[Future[T]] = []
        with holding(url, statement) as waiting:
            for call in calls:
                results.append(threads.submit(call))
                wait_until(lambda: waiting() >= sum(not result.done() for result in results))
        return [result.result() for result in results]


def connect_pools(url: str, *, size: int = 5, **settings: Any) -> Database:
    """Return the connection pools of a server for this database. The caller closes them."""
    return Database(settings_for(url, **settings), pool_size=size, read_pool_size=size)


def settings_for(url: str, **settings: Any) -> DatabaseSettings:
    return DatabaseSettings.model_validate({"database_url": url, **settings})


def create_database(server: Postgres, template: str = "template0") -> str:
    """Create a database and return its URL."""
    idle_sessions.close(server.url(template))  # PostgreSQL copies no database that is in use
    name = f"test_{uuid4().hex}"
    execute(server.url(), f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
    return server.url(name)


def make_template(server: Postgres) -> str:
    """Make the migrated database that tests clone; return the error output, or an empty string."""
    execute(server.url(), f"CREATE DATABASE {TEMPLATE} TEMPLATE template0")
    done = alembic("upgrade", "head", DATABASE_URL=server.url(TEMPLATE))
    return done.stdout + done.stderr if done.returncode else ""


def alembic(
    *arguments: str, folder: Path = ROOT / "server", timeout: float = 200, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run the command that Fly's release machine runs."""
    return subprocess.run(
        ["alembic", *arguments],
        cwd=folder,
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
