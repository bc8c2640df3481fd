"""Reads that change nothing, on connections of their own: one round trip each, without a transaction.

Through a session the same row costs three (BEGIN, SELECT, COMMIT) and several times the CPU, most of which goes into
building the statement anew. Here it is compiled once, and asyncpg runs it. See docs/decisions/0024-reads.md.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from time import monotonic
from typing import Any, Self
from uuid import UUID

import asyncpg
from sqlalchemy import Select
from sqlalchemy.dialects.postgresql.asyncpg import dialect
from starlette.requests import HTTPConnection

from audifi.core.config.settings import DatabaseSettings
from audifi.core.db.connection import connect_with_limits
from audifi.core.db.errors import is_database_away
from audifi.core.db.semaphore import Turns
from audifi.core.http import problems
from audifi.core.http.dependencies import services_of
from audifi.core.http.openapi import raises

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
        self.turns = Turns(settings.database_read_pool_size, settings.database_pool_timeout_seconds)
        self._idle: list[tuple[asyncpg.Connection, float]] = []
        """With when each was made. The last one is used next, so that those that aren't needed age."""
        self.used = 0
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
        async with self.turns:
            self.used += 1
            try:
                with self.traced(query.sql):
                    return await self._fetch(query.sql, query.arguments(values))
            finally:
                self.used -= 1

    async def _fetch(self, sql: str, arguments: list[Any]) -> list[Row]:
        while True:
            connection, made_at, is_new = await self._connection()
            try:
                rows: list[Row] = await connection.fetch(sql, *arguments)
            except BaseException as error:
                connection.terminate()  # what was cancelled, or timed out, may still be under way on it
                # PostgreSQL may end a connection while it is idle, and nobody has noticed. To read again does no harm.
                if is_new or isinstance(error, TimeoutError) or not is_database_away(error):
                    raise
            else:
                self._idle.append((connection, made_at))
                return rows

    async def _connection(self) -> tuple[asyncpg.Connection, float, bool]:
        """One, when it was made, and whether just now."""
        while self._idle:
            connection, made_at = self._idle.pop()
            if connection.is_closed():
                continue
            if monotonic() - made_at < self._settings.database_pool_recycle_seconds:
                return connection, made_at, False
            await self._close(connection)
        made = await connect_with_limits(self._settings, server_settings={"default_transaction_read_only": "on"})
        return made, monotonic(), True

    @staticmethod
    async def _close(connection: asyncpg.Connection) -> None:
        with suppress(TimeoutError, OSError, asyncpg.InterfaceError):  # of a database that is frozen, or gone
            await connection.close(timeout=CLOSE_TIMEOUT_SECONDS)


UNAVAILABLE = (problems.database_unavailable(), problems.database_busy())


@raises(*UNAVAILABLE)
async def get_reads(connection: HTTPConnection) -> Reads:
    """For routes and what they depend on."""
    return services_of(connection).reads
