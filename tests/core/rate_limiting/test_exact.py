"""Exact rate limits, counted in the database by all machines."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from pydantic import SecretStr

from audifi.core.rate_limiting.exact import RateLimiter
from audifi.core.rate_limiting.limits import CounterKeys, Limit, RateLimitExceededError
from tests.support import databases

NOW = datetime(2100, 1, 1, tzinfo=UTC)  # in the future, so that retention doesn't delete the counters
ONE = Limit("one", 1, per=timedelta(minutes=5))
THREE = Limit("three", 3, per=timedelta(minutes=1))
FOUR = Limit("four", 4, per=timedelta(minutes=1))


@asynccontextmanager
async def running(url: str) -> AsyncIterator[RateLimiter]:
    async with databases.connect_pools(url) as database:
        yield RateLimiter(database, CounterKeys(SecretStr("s" * 32)))


async def hit(limiter: RateLimiter, *limits: tuple[Limit, str], now: datetime = NOW) -> str:
    """Return the name of the exceeded limit, or an empty string."""
    try:
        await limiter.hit(limits, now=now)
    except RateLimitExceededError as error:
        return error.status.limit.name
    return ""


async def count_allowed(limiter: RateLimiter, *limits: tuple[Limit, str], requests: int, now: datetime = NOW) -> int:
    """Return how many concurrent requests are allowed."""
    return (await asyncio.gather(*(hit(limiter, *limits, now=now) for _ in range(requests)))).count("")


@pytest.fixture
def subject() -> str:
    return uuid4().hex


def test_limit_holds_for_requests_at_once_on_two_machines(database_url: str, subject: str) -> None:
    async def run() -> list[int]:
        async with running(database_url) as first, running(database_url) as second:
            return await asyncio.gather(
                *(count_allowed(each, (THREE, subject), requests=10) for each in (first, second))
            )

    assert sum(asyncio.run(run())) == 3


def test_several_limits_hold_for_requests_at_once(database_url: str, subject: str) -> None:
    """Clients share a limit: counters are locked in the order of the limits, so they can't deadlock."""

    async def run() -> list[int]:
        async with running(database_url) as first, running(database_url) as second:
            return await asyncio.gather(
                *(
                    count_allowed(machine, (THREE, f"{subject} {client}"), (FOUR, subject), requests=4)
                    for machine in (first, second)
                    for client in range(3)
                )
            )

    assert sum(asyncio.run(run())) == 4


def test_window_starts_with_the_first_request(database_url: str, subject: str) -> None:
    async def run() -> list[int]:
        async with running(database_url) as limiter:
            return [
                await count_allowed(limiter, (THREE, subject), requests=4, now=NOW + timedelta(seconds=seconds))
                for seconds in (0, 59.9, 60, 119.9, 120)
            ]

    assert asyncio.run(run()) == [3, 0, 3, 0, 3]


def test_refusal_names_the_limit_and_the_time_to_wait(database_url: str, subject: str) -> None:
    async def run() -> RateLimitExceededError:
        async with running(database_url) as limiter:
            await limiter.hit([(THREE, subject), (ONE, subject)], now=NOW)
            with pytest.raises(RateLimitExceededError) as caught:
                await limiter.hit([(THREE, subject), (ONE, subject)], now=NOW + timedelta(seconds=100.2))
            return caught.value

    assert asyncio.run(run()).status == (ONE, 0, 200)


def test_reached_limit_keeps_later_limits_uncounted(database_url: str, subject: str) -> None:
    async def run() -> list[str]:
        async with running(database_url) as limiter:
            both = [await hit(limiter, (ONE, subject), (THREE, subject)) for _ in range(5)]
            return both + [await hit(limiter, (THREE, subject)) for _ in range(3)]

    assert asyncio.run(run()) == ["", "one", "one", "one", "one", "", "", "three"]


def test_limits_and_subjects_are_counted_apart(database_url: str, subject: str) -> None:
    async def run() -> list[int]:
        async with running(database_url) as limiter:
            pairs = [(ONE, subject), (ONE, f"{subject}x"), (THREE, subject)]
            return [await count_allowed(limiter, pair, requests=4) for pair in pairs]

    assert asyncio.run(run()) == [1, 1, 3]


def test_database_holds_no_subject(migrated_database_url: str) -> None:
    async def run() -> None:
        async with running(migrated_database_url) as limiter:
            await limiter.hit([(ONE, "203.0.113.7/32"), (THREE, "ana@example.com")], now=NOW)

    asyncio.run(run())
    rows = "SELECT string_agg(c::text, ' ') FROM rate_limit_counters AS c"
    stored = str(databases.fetch_value(migrated_database_url, rows))
    assert stored.count("2100-01-01") == 2
    assert "203.0" not in stored
    assert "ana" not in stored
