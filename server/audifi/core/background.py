"""Tasks that run as long as the server does, restarted when they fail."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Self

logger = logging.getLogger(__name__)

RESTART_SECONDS = 5


class BackgroundTasks:
    """Run named coroutines until the block ends; restart one that ends or raises, after a pause.

    Args:
        tasks: the coroutine functions by name; each is expected to run until cancelled.
        on_restart: called with the name each time a task is restarted.
        restart_seconds: the pause before a restart.
    """

    def __init__(
        self,
        tasks: Mapping[str, Callable[[], Awaitable[None]]],
        *,
        on_restart: Callable[[str], None],
        restart_seconds: float = RESTART_SECONDS,
    ) -> None:
        self._functions = tasks
        self._on_restart = on_restart
        self._restart_seconds = restart_seconds
        self._running: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._running = [
            asyncio.create_task(self._supervise(name, function), name=name)
            for name, function in self._functions.items()
        ]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _supervise(self, name: str, function: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await function()
                reason = "it ended"
            except Exception as error:  # noqa: BLE001 - whatever it is, the task must run
                reason = type(error).__name__
            logger.error("background task restarts: task=%s reason=%s", name, reason)
            self._on_restart(name)
            await asyncio.sleep(self._restart_seconds)
