"""Waits for conditions that become true soon."""

import asyncio
import time
from collections.abc import Callable


def wait_until(is_so: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


async def until(is_so: Callable[[], bool]) -> None:
    """Wait while other tasks of the event loop run."""
    async with asyncio.timeout(120):
        while not is_so():  # noqa: ASYNC110 - it may be in another task, or the database
            await asyncio.sleep(0.01)


LOOK_SECONDS = 0.3


def assert_soon(is_so: Callable[[], bool], seconds: float) -> None:
    """Check a promise of `seconds`. Each look counts 0.3 s at most, so that a stalled machine doesn't fail it.

    Raises:
        AssertionError: the condition wasn't true in time.
    """
    left, at = seconds, time.monotonic()
    while not is_so():
        before, at = at, time.monotonic()
        left -= min(at - before, LOOK_SECONDS)
        assert left > 0, f"it wasn't so in {seconds} s"
        time.sleep(0.02)
