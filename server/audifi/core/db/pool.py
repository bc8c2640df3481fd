"""A pool of asyncpg connections behind a fair semaphore."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic

import asyncpg

from audifi.core.config.settings import DatabaseSettings
from audifi.core.db.errors import is_disconnected
from audifi.core.db.semaphore import FairSemaphore

CLOSE_TIMEOUT_SECONDS = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class PooledConnection:
    """A connection that one task uses."""

    driver: asyncpg.Connection
    opened_at: float
    is_new: bool


class Pool:
    """Connections, each opened at first use.

    asyncpg's own pool takes longer than a query, and isn't fair (docs/decisions/0024-database-access.md).
    """

    def __init__(
        self,
        settings: DatabaseSettings,
        open_connection: Callable[[], Awaitable[asyncpg.Connection]],
        *,
        name: str,
        size: int,
        on_wait: Callable[[str, float], None],
    ) -> None:
        self.name = name
        self.semaphore = FairSemaphore(
            size, settings.database_pool_timeout_seconds, on_wait=lambda seconds: on_wait(name, seconds)
        )
        self._open_connection = open_connection
        self._recycle_seconds = settings.database_pool_recycle_seconds
        self._idle: list[PooledConnection] = []
        self._is_closed = False

    @property
    def size(self) -> int:
        return self.semaphore.size

    @property
    def in_use(self) -> int:
        return self.semaphore.in_use

    @property
    def idle(self) -> int:
        return len(self._idle)

    async def take(self) -> PooledConnection:
        """Return a connection; the caller is inside `semaphore`.

        Raises:
            OSError, asyncpg.PostgresError, asyncpg.InterfaceError: no connection could be opened.
        """
        while self._idle:
            connection = self._idle.pop()  # the last one used; connections in excess stay idle until recycled
            if connection.driver.is_closed():
                continue
            if monotonic() - connection.opened_at < self._recycle_seconds:
                return connection
            try:
                replacement = await self._open()
            except asyncpg.TooManyConnectionsError:
                return connection  # another client would take its place
            await _close(connection.driver)
            return replacement
        return await self._open()

    async def _open(self) -> PooledConnection:
        return PooledConnection(driver=await self._open_connection(), opened_at=monotonic(), is_new=True)

    def put_back(self, connection: PooledConnection, *, is_clean: bool = True) -> None:
        """Keep a connection for the next task; terminate it where a statement or transaction may still be under way."""
        driver = connection.driver
        if is_clean and not (self._is_closed or driver.is_closed() or driver.is_in_transaction()):
            self._idle.append(PooledConnection(driver=driver, opened_at=connection.opened_at, is_new=False))
        else:
            driver.terminate()

    async def close(self) -> None:
        """Close idle connections now, and those in use when they are put back."""
        self._is_closed = True
        while self._idle:
            await _close(self._idle.pop().driver)


def is_stale(connection: PooledConnection, error: BaseException) -> bool:
    """Return whether PostgreSQL ended the connection while it was idle, so that nothing was executed on it."""
    return not connection.is_new and not isinstance(error, TimeoutError) and is_disconnected(error)


async def _close(driver: asyncpg.Connection) -> None:
    with suppress(TimeoutError, OSError, asyncpg.InterfaceError):  # the database is frozen, or gone
        await driver.close(timeout=CLOSE_TIMEOUT_SECONDS)
