"""Reads that change nothing, on connections of their own: one round trip each, without a transaction.

Through a session the same row costs three (BEGIN, SELECT, COMMIT) and several times the CPU, most of which goes into
building the statement anew. Here it is compiled once, and asyncpg runs it. See docs/decisions/0024-reads.md.
"""

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from time import monotonic, perf_counter
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

CLOSE_TIMEOUT_SECONDS = 0.5
NOT_TRACED = nullcontext()

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
    """Connections of asyncpg's, open inside of `async with`, each made at first use.

    Not asyncpg's own pool: it takes longer than the query, and under load some wait very long, because who comes is
    served before who was woken. Here who waits first is served first (docs/decisions/0024-reads.md).
    """

    def __init__(self, settings: DatabaseSettings) -> None:
        self._settings = settings
        self.max_connections = settings.database_read_pool_size
        self._free = asyncio.Semaphore(self.max_connections)
        self._idle: list[tuple[asyncpg.Connection, float]] = []
        """With when each was made. The last one is used next, so that those that aren't needed age."""
        self.used = 0
        self.waited: Callable[[float], None] = lambda _seconds: None
        """Told how long each wait for a connection took."""
        self.traced: Callable[[str], AbstractContextManager[None]] = lambda _statement: NOT_TRACED
        """What each statement runs in."""

    @property
    def idle(self) -> int:
        return len(self._idle)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        while self._idle:
            await self._close(self._idle.pop()[0])

    async def fetch_one(self, query: Query, **values: Any) -> Row | None:
        """The first row, or None.

        Raises:
            asyncpg.PostgresError, asyncpg.InterfaceError, OSError, sqlalchemy.exc.TimeoutError: answered with 503 where
                the database is away or busy.
        """
        rows = await self.fetch_all(query, **values)
        return rows[0] if rows else None

    async def fetch_all(self, query: Query, **values: Any) -> list[Row]:
        """All rows; the query has a limit. Raises as `fetch_one`."""
        began_at = perf_counter()
        await self._acquire()
        self.used += 1
        try:
            connection, made_at = await self._connection()
            self.waited(perf_counter() - began_at)
            try:
                with self.traced(query.sql):
                    rows: list[Row] = await connection.fetch(query.sql, *query.arguments(values))
            except BaseException:
                connection.terminate()  # what was cancelled, or timed out, may still be under way on it
                raise
            self._idle.append((connection, made_at))
            return rows
        finally:
            self.used -= 1
            self._free.release()

    async def _acquire(self) -> None:
        if not self._free.locked():  # a timer costs more
            await self._free.acquire()
            return
        try:
            async with asyncio.timeout(self._settings.database_pool_timeout_seconds):
                await self._free.acquire()
        except TimeoutError:
            raise PoolTimeoutError("all connections for reads are in use") from None

    async def _connection(self) -> tuple[asyncpg.Connection, float]:
        while self._idle:
            connection, made_at = self._idle.pop()
            if connection.is_closed():
                continue
            if monotonic() - made_at < self._settings.database_pool_recycle_seconds:
                return connection, made_at
            await self._close(connection)
        made = await connect_with_limits(self._settings, server_settings={"default_transaction_read_only": "on"})
        return made, monotonic()

    @staticmethod
    async def _close(connection: asyncpg.Connection) -> None:
        with suppress(TimeoutError, OSError, asyncpg.InterfaceError):  # of a database that is frozen, or gone
            await connection.close(timeout=CLOSE_TIMEOUT_SECONDS)


UNAVAILABLE = (problems.database_unavailable(), problems.database_busy())


@raises(*UNAVAILABLE)
async def get_reads(connection: HTTPConnection) -> Reads:
    """For routes and what they depend on."""
    reads: Reads = connection.app.state.reads
    return reads
