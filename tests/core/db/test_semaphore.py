"""Who is next for a connection."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from audifi.core.db.semaphore import Turns

LONG = 5


def with_one(run: Callable[[Turns], Awaitable[None]], timeout_seconds: float = LONG) -> None:
    async def go() -> None:
        await run(Turns(1, timeout_seconds))

    asyncio.run(go())


def test_who_waits_first_is_first_also_when_another_comes_at_that_moment() -> None:
    order: list[str] = []

    async def run(turns: Turns) -> None:
        async def take(name: str) -> None:
            async with turns:
                order.append(name)
                await asyncio.sleep(0)

        async with turns:
            waiting = [asyncio.create_task(take(name)) for name in ("first", "second")]
            await asyncio.sleep(0)
        await take("late")
        await asyncio.gather(*waiting)

    with_one(run)
    assert order == ["first", "second", "late"]


def test_the_turn_of_one_who_has_gone_is_the_nexts() -> None:
    async def run(turns: Turns) -> None:
        async with turns:
            gone, stays = (asyncio.create_task(turns.__aenter__()) for _ in range(2))
            await asyncio.sleep(0)
        gone.cancel()
        await asyncio.wait_for(stays, timeout=1)
        assert gone.cancelled()

    with_one(run)


def test_a_wait_ends_as_that_for_a_pool_does_and_takes_no_turn() -> None:
    waits: list[float] = []

    async def run(turns: Turns) -> None:
        turns.waited = waits.append
        async with turns:
            with pytest.raises(PoolTimeoutError):
                await turns.__aenter__()
        async with turns:
            pass

    with_one(run, timeout_seconds=0.01)
    assert len(waits) == 2
