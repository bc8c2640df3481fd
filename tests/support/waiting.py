"""Waits for conditions that become true soon."""

import asyncio
import time
from collections.abc import Callable


def wait_until(condition: Callable[[], bool], seconds: float = 120, *, interval: float = 0.05) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(interval)


async def until(condition: Callable[[], bool]) -> None:
    """Wait while other tasks of the event loop run."""
    async with asyncio.timeout(120):
        while not condition():  # noqa: ASYNC110 - the condition may depend on another task, or on the database
            await asyncio.sleep(0.01)


MAX_POLL_SECONDS = 0.3


def assert_soon(condition: Callable[[], bool], seconds: float) -> None:
    """Check that a condition becomes true in time. Each poll counts as 0.3 s at most, so that a stalled machine passes.

    Raises:
        AssertionError: the condition wasn't true in time.
    """
    left, at = seconds, time.monotonic()
    while not condition():
        before, at = at, time.monotonic()
        left -= min(at - before, MAX_POLL_SECONDS)
        assert left > 0, f"the condition wasn't true within {seconds} s"
        time.sleep(0.02)
