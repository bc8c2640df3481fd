"""Limits that all machines count together."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from limits import RateLimitItemPerMinute
from sqlalchemy.ext.asyncio import AsyncEngine

from audifi.core.config.settings import DatabaseSettings
from audifi.core.db.connection import create_engine
from audifi.core.http.problems import Problem
from audifi.core.rate_limiting.limiter import Limit, PostgresStorage, RateLimiter, describe

NOW = datetime(2100, 1, 1, tzinfo=UTC)  # what is over, housekeeping deletes
THREE = Limit(name="three", item=RateLimitItemPerMinute(3))
ONE = Limit(name="one", item=RateLimitItemPerMinute(1, 5))


@asynccontextmanager
async def limiter_on(url: str) -> AsyncIterator[tuple[RateLimiter, AsyncEngine]]:
    engine = create_engine(DatabaseSettings(database_url=url))
    try:
        yield RateLimiter(engine), engine
    finally:
        await engine.dispose()


async def hits(limiter: RateLimiter, *limits: tuple[Limit, str], count: int, now: datetime = NOW) -> list[bool]:
    """Which of so many at once are allowed."""

    async def hit() -> bool:
        try:
            await limiter.hit(limits, now=now)
        except Problem:
            return False
        return True

    return sorted(await asyncio.gather(*(hit() for _ in range(count))), reverse=True)


@pytest.fixture
def subject() -> str:
    return uuid4().hex


def test_so_many_are_allowed_and_no_more_however_many_come_at_once(database_url: str, subject: str) -> None:
    async def run() -> None:
        async with limiter_on(database_url) as (one, _), limiter_on(database_url) as (two, _):
            allowed = await asyncio.gather(*(hits(m, (THREE, subject), count=10) for m in (one, two)))
            assert sum(allowed[0] + allowed[1]) == 3

    asyncio.run(run())


def test_a_window_ends(database_url: str, subject: str) -> None:
    async def run() -> None:
        async with limiter_on(database_url) as (limiter, _):
            assert await hits(limiter, (THREE, subject), count=4) == [True] * 3 + [False]
            late = NOW + timedelta(seconds=59.9)
            assert await hits(limiter, (THREE, subject), count=1, now=late) == [False]
            over = NOW + timedelta(seconds=60)
            assert await hits(limiter, (THREE, subject), count=4, now=over) == [True] * 3 + [False]

    asyncio.run(run())


def test_a_refusal_says_which_limit_and_how_long_to_wait(database_url: str, subject: str) -> None:
    async def run() -> Problem:
        async with limiter_on(database_url) as (limiter, _):
            await limiter.hit([(ONE, subject)], now=NOW)
            with pytest.raises(Problem) as refusal:
                await limiter.hit([(ONE, subject)], now=NOW + timedelta(seconds=100.2))
            return refusal.value

    problem = asyncio.run(run())
    assert (problem.status, problem.code) == (429, "rate_limit.exceeded")
    assert dict(problem.headers) == {
        "Retry-After": "200",
        "RateLimit-Policy": '"one";q=1;w=300',
        "RateLimit": '"one";r=0;t=200',
    }
    assert problem.detail == "At most 1 in 5 minutes. Try again in 3 minutes."


def test_what_one_limit_refuses_is_not_counted_by_the_next(database_url: str, subject: str) -> None:
    async def run() -> None:
        async with limiter_on(database_url) as (limiter, _):
            await hits(limiter, (ONE, subject), (THREE, subject), count=10)
            assert await hits(limiter, (THREE, subject), count=3) == [True, True, False]

    asyncio.run(run())


def test_what_is_counted_stays_counted_for_each_subject_and_limit(database_url: str, subject: str) -> None:
    async def run() -> None:
        async with limiter_on(database_url) as (limiter, _):
            assert await hits(limiter, (ONE, subject), count=2) == [True, False]
            assert await hits(limiter, (ONE, subject + "x"), count=2) == [True, False]
            assert await hits(limiter, (THREE, subject), count=1) == [True]

    asyncio.run(run())


def test_the_store_keeps_what_the_package_asks_of_it(migrated_database_url: str) -> None:
    async def run() -> None:
        async with limiter_on(migrated_database_url) as (_, engine), engine.begin() as connection:
            store = PostgresStorage(connection, NOW)
            assert await store.check()
            assert (await store.get("k"), await store.get_expiry("k")) == (0, NOW.timestamp())
            assert [await store.incr("k", 60), await store.incr("k", 60, amount=2)] == [1, 3]
            assert (await store.get("k"), await store.get_expiry("k")) == (3, NOW.timestamp() + 60)
            assert await PostgresStorage(connection, NOW + timedelta(seconds=60)).get("k") == 0
            await store.clear("k")
            assert await store.get("k") == 0
            await store.incr("k", 60)
            assert await store.reset() == 1

    asyncio.run(run())


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(1, "1 second"), (59, "59 seconds"), (60, "1 minute"), (3600, "1 hour"), (7200, "2 hours"), (86400, "1 day")],
)
def test_times_are_told_in_words(seconds: int, words: str) -> None:
    assert describe(seconds) == words
