"""Reads that change nothing, on connections of their own: one round trip each, without a transaction.

Through a session the same row costs three (BEGIN, SELECT, COMMIT) and several times the CPU, most of which goes into
building the statement anew. Here it is compiled once, and asyncpg runs it. See docs/decisions/0024-reads.md.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from time import perf_counter
from typing import Any, Self
from uuid import UUID

import asyncpg
from sqlalchemy import Select
from sqlalchemy.dialects.postgresql.asyncpg import dialect
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.requests import HTTPConnection

from audifi.core import problems
from audifi.core.contract import raises
from audifi.core.database import connect_with_limits
from audifi.core.settings import DatabaseSettings

type Row = asyncpg.Record

CLOSE_TIMEOUT_SECONDS = 1

NEWEST = UUID(int=2**128 - 1)
"""After every UUIDv7: where a list of the newest begins."""


class Query:
    """A select whose parameters are named by `bindparam`; each of them must be given when it is run."""

    def __init__(self, statement: Select[*tuple[Any, ...]]) -> None:
        compiled = statement.compile(dialect=dialect())  # type: ignore[no-untyped-call] # SQLAlchemy's has no types
        self.sql = str(compiled)
        self._names: list[str] = compiled.positiontup or []

    def arguments(self, values: dict[str, Any]) -> list[Any]:
        return [values[name] for name in self._names]


class Reads:
    """A pool of asyncpg's, open inside of `async with`. It connects at first use."""

    def __init__(self, settings: DatabaseSettings) -> None:
        self._settings = settings
        self._pool: asyncpg.Pool | None = None
        self.max_connections = settings.database_read_pool_size
        self.waited: Callable[[float], None] = lambda _seconds: None
        """Told how long each wait for a connection took."""

    @property
    def idle(self) -> int:
        return self._pool.get_idle_size() if self._pool else 0

    @property
    def used(self) -> int:
        return self._pool.get_size() - self._pool.get_idle_size() if self._pool else 0

    async def __aenter__(self) -> Self:
        self._pool = await asyncpg.create_pool(
            min_size=0,
            max_size=self.max_connections,
            max_inactive_connection_lifetime=0,  # takes a timer each time; `_expire` does it for all
            connect=partial(_connect, self._settings),
            reset=_leave,
        )
        self._expiring = asyncio.create_task(self._expire(self._pool))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._expiring.cancel()
        if self._pool:
            with suppress(TimeoutError):  # a database that is frozen must not keep the process from ending
                async with asyncio.timeout(CLOSE_TIMEOUT_SECONDS):
                    await self._pool.close()

    async def fetch_one(self, query: Query, **values: Any) -> Row | None:
        """The first row, or None.

        Raises:
            asyncpg.PostgresError, asyncpg.InterfaceError, OSError, sqlalchemy.exc.TimeoutError: answered with 503 where
                the database is away or busy.
        """
        async with self._connection() as connection:
            return await connection.fetchrow(query.sql, *query.arguments(values))

    async def fetch_all(self, query: Query, **values: Any) -> list[Row]:
        """All rows; the query has a limit. Raises as `fetch_one`."""
        async with self._connection() as connection:
            rows: list[Row] = await connection.fetch(query.sql, *query.arguments(values))
            return rows

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[asyncpg.pool.PoolConnectionProxy]:
        assert self._pool  # noqa: S101 - nothing is served outside of the lifespan
        began_at = perf_counter()
        try:
            connection = await self._acquire(self._pool)
        finally:
            self.waited(perf_counter() - began_at)
        try:
            yield connection
        finally:
            await self._pool.release(connection)

    async def _acquire(self, pool: asyncpg.Pool) -> asyncpg.pool.PoolConnectionProxy:
        if pool.get_idle_size():  # a timer costs as much as the rest of it
            return await pool.acquire()
        try:
            return await pool.acquire(timeout=self._settings.database_pool_timeout_seconds)
        except TimeoutError:
            if pool.get_size() < pool.get_max_size():
                raise  # there was room for another, but PostgreSQL didn't answer
            raise PoolTimeoutError("all connections for reads are in use") from None

    async def _expire(self, pool: asyncpg.Pool) -> None:
        """Replace connections by age, as the pool of the engine does."""
        while True:
            await asyncio.sleep(self._settings.database_pool_recycle_seconds)
            await pool.expire_connections()


UNAVAILABLE = (problems.database_unavailable(), problems.database_busy())


@raises(*UNAVAILABLE)
async def get_reads(connection: HTTPConnection) -> Reads:
    """For routes and what they depend on."""
    reads: Reads = connection.app.state.reads
    return reads


async def _connect(settings: DatabaseSettings, *_: Any, **__: Any) -> asyncpg.Connection:
    return await connect_with_limits(settings, server_settings={"default_transaction_read_only": "on"})


async def _leave(_: asyncpg.Connection) -> None:
    """A read leaves nothing behind that would have to be reset."""
