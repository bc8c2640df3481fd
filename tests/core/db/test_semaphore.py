"""The semaphore: order, timeout, cancellation."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from audifi.core.db.semaphore import FairSemaphore, PoolTimeoutError

LONG = 5


def with_one(run: Callable[[FairSemaphore], Awaitable[None]], timeout_seconds: float = LONG) -> list[float]:
    """Run with a semaphore of one; return the waits."""
    waits: list[float] = []

    async def go() -> None:
        await run(FairSemaphore(1, timeout_seconds, on_wait=waits.append))

    asyncio.run(go())
    return waits


def test_task_that_arrives_late_is_served_last() -> None:
    order: list[str] = []

    async def run(semaphore: FairSemaphore) -> None:
        async def enter(name: str) -> None:
            async with semaphore:
                order.append(name)
                await asyncio.sleep(0)

        async with semaphore:
            waiting = [asyncio.create_task(enter(name)) for name in ("first", "second")]
            await asyncio.sleep(0)
        await enter("late")
        await asyncio.gather(*waiting)

    with_one(run)
    assert order == ["first", "second", "late"]


def test_turn_of_a_cancelled_task_goes_to_the_next() -> None:
    async def run(semaphore: FairSemaphore) -> None:
        async with semaphore:
            cancelled, stays = (asyncio.create_task(semaphore.acquire()) for _ in range(2))
            await asyncio.sleep(0)
        cancelled.cancel()
        await asyncio.wait_for(stays, timeout=1)
        assert cancelled.cancelled()
        assert semaphore.in_use == 1

    with_one(run)


def test_wait_that_times_out_takes_no_turn() -> None:
    async def run(semaphore: FairSemaphore) -> None:
        async with semaphore:
            with pytest.raises(PoolTimeoutError):
                await semaphore.acquire()
        async with semaphore:
            assert semaphore.in_use == 1

    assert len(with_one(run, timeout_seconds=0.01)) == 2
