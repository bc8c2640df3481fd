"""So many at a time, and whoever has waited longest is next."""

import asyncio
from collections.abc import Callable
from time import perf_counter
from typing import Self

from sqlalchemy.exc import TimeoutError as PoolTimeoutError


class Turns:
    """Who may have a connection, `async with` it.

    Pools alone let those who come in before those who were woken: SQLAlchemy's (an asyncio.Queue) as much as asyncpg's.
    Under load some would wait very long.

    Args:
        number: as many as there can be connections.
        timeout_seconds: of each wait.

    Raises:
        sqlalchemy.exc.TimeoutError: on entering, as its pool does; answered with 503 `database.busy`.
    """

    def __init__(self, number: int, timeout_seconds: float) -> None:
        self.number = number
        self._timeout_seconds = timeout_seconds
        self._free = asyncio.Semaphore(number)
        self.waited: Callable[[float], None] = lambda _seconds: None
        """Told how long each wait took."""

    async def __aenter__(self) -> Self:
        began_at = perf_counter()
        if self._free.locked():
            try:
                async with asyncio.timeout(self._timeout_seconds):
                    await self._free.acquire()
            except TimeoutError:
                raise PoolTimeoutError("all connections are in use") from None
        else:  # a timer costs more
            await self._free.acquire()
        self.waited(perf_counter() - began_at)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._free.release()
