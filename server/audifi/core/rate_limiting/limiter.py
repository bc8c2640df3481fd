"""How often something may be done, counted for all machines together in PostgreSQL.

The package `limits` has the limits and the strategy; a store in PostgreSQL is what it lacks (its issue 52).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import override

from limits import RateLimitItem, WindowStats
from limits.aio.storage import Storage
from limits.aio.strategies import FixedWindowRateLimiter
from sqlalchemy import case, delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from audifi.core.http import problems
from audifi.core.http.problems import Problem
from audifi.core.rate_limiting.models import RateLimitCounter


@dataclass(frozen=True, kw_only=True)
class Limit:
    """So many, per window, for each of something."""

    name: str
    """As `RateLimit-Policy` has it: letters, digits, hyphens."""
    item: RateLimitItem


class RateLimiter:
    """Counts on connections of its own, so that what is counted stays so when the request fails."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def hit(self, limits: Sequence[tuple[Limit, str]], *, now: datetime) -> None:
        """Count one more for each limit and what it is for, until one of them is reached.

        Raises:
            Problem: 429.
        """
        async with self._engine.begin() as connection:
            limiter = FixedWindowRateLimiter(PostgresStorage(connection, now))
            for limit, subject in limits:
                if not await limiter.hit(limit.item, limit.name, subject):
                    stats = await limiter.get_window_stats(limit.item, limit.name, subject)
                    break
            else:
                return
        raise exceeded(limit, stats, now)


def exceeded(limit: Limit, stats: WindowStats, now: datetime) -> Problem:
    """429, with Retry-After (RFC 9110, 10.2.3) and `told`."""
    wait = _wait(stats, now)
    problem = problems.too_many_requests(
        f"At most {limit.item.amount} in {describe(limit.item.get_expiry())}. Try again in {describe(wait)}.",
        retry_after=wait,
        headers=told(limit, stats, now),
    )
    problem.limit = limit.name
    return problem


def told(limit: Limit, stats: WindowStats, now: datetime) -> list[tuple[str, str]]:
    """What is left, by the fields of draft-ietf-httpapi-ratelimit-headers-10; several limits make several lines."""
    return [
        ("RateLimit-Policy", f'"{limit.name}";q={limit.item.amount};w={limit.item.get_expiry()}'),
        ("RateLimit", f'"{limit.name}";r={stats.remaining};t={_wait(stats, now)}'),
    ]


def _wait(stats: WindowStats, now: datetime) -> int:
    return max(1, math.ceil(stats.reset_time - now.timestamp()))


class PostgresStorage(Storage):
    """The counters, on one connection at one instant; each count is one statement, so no two of them read the same."""

    def __init__(self, connection: AsyncConnection, now: datetime) -> None:
        super().__init__()
        self._connection = connection
        self._now = now

    @property
    @override
    def base_exceptions(self) -> type[Exception]:
        return DBAPIError

    @override
    async def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        new = insert(RateLimitCounter).values(key=key, count=amount, expires_at=self._now + timedelta(seconds=expiry))
        is_over = RateLimitCounter.expires_at <= self._now
        count = new.on_conflict_do_update(
            index_elements=["key"],
            set_={
                "count": case((is_over, new.excluded.count), else_=RateLimitCounter.count + new.excluded.count),
                "expires_at": case((is_over, new.excluded.expires_at), else_=RateLimitCounter.expires_at),
            },
        ).returning(RateLimitCounter.count)
        return (await self._connection.execute(count)).scalar_one()

    @override
    async def get(self, key: str) -> int:
        found = select(RateLimitCounter.count).where(
            RateLimitCounter.key == key, RateLimitCounter.expires_at > self._now
        )
        return (await self._connection.execute(found)).scalar_one_or_none() or 0

    @override
    async def get_expiry(self, key: str) -> float:
        found = select(RateLimitCounter.expires_at).where(RateLimitCounter.key == key)
        expires_at = (await self._connection.execute(found)).scalar_one_or_none()
        return (expires_at or self._now).timestamp()

    @override
    async def check(self) -> bool:
        return True  # health asks PostgreSQL itself

    @override
    async def reset(self) -> int | None:
        return (await self._connection.execute(delete(RateLimitCounter))).rowcount

    @override
    async def clear(self, key: str) -> None:
        await self._connection.execute(delete(RateLimitCounter).where(RateLimitCounter.key == key))


def describe(seconds: float) -> str:
    """For a person: "3 minutes"."""
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= size:
            count = round(seconds / size)
            return f"{count} {unit}{'s' if count != 1 else ''}"
    return f"{seconds:.0f} second{'s' if seconds != 1 else ''}"
