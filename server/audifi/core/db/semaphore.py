"""FIFO semaphore with a timeout."""

import asyncio
from collections.abc import Callable
from time import perf_counter
from typing import Self


class PoolTimeoutError(Exception):
    """Every connection of a pool was in use for longer than a task may wait."""


class FairSemaphore:
    """Limits how many tasks use a connection at once; the task that has waited longest is next.

    The pools of SQLAlchemy and asyncpg serve a task that arrives before one that was woken, so that under load some
    tasks wait very long (docs/decisions/0024-database-access.md).
    """

    def __init__(
        self, size: int, timeout_seconds: float, *, on_wait: Callable[[float], None] = lambda _seconds: None
    ) -> None:
        """Create a semaphore.

        Args:
            size: how many tasks may enter.
            timeout_seconds: of each wait.
            on_wait: called with the seconds that a task waited.
        """
        self.size = size
        self.in_use = 0
        self._timeout_seconds = timeout_seconds
        self._semaphore = asyncio.Semaphore(size)
        self._on_wait = on_wait

    async def acquire(self) -> None:
        """Wait for a turn.

        Raises:
            PoolTimeoutError: after `timeout_seconds`.
        """
        started_at = perf_counter()
        if self._semaphore.locked():
            try:
                async with asyncio.timeout(self._timeout_seconds):
                    await self._semaphore.acquire()
            except TimeoutError:
                raise PoolTimeoutError("all connections are in use") from None
        else:  # a timer costs more
            await self._semaphore.acquire()
        self.in_use += 1
        self._on_wait(perf_counter() - started_at)

    def release(self) -> None:
        """Let the next task enter."""
        self.in_use -= 1
        self._semaphore.release()

    async def __aenter__(self) -> Self:
        await self.acquire()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.release()
