"""How often something may be done, counted for all machines together in PostgreSQL.

The package `limits` has the limits and the strategy; a store in PostgreSQL is what it lacks (its issue 52).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import override

from limits import RateLimitItem
from limits.aio.storage import Storage
from limits.aio.strategies import FixedWindowRateLimiter
from sqlalchemy import case, delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from audifi.core.models import RateLimitCounter
from audifi.core.problems import Problem


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
            Problem: 429, with Retry-After (RFC 9110, 10.2.3) and the fields of the IETF's draft on rate limit headers.
        """
        async with self._engine.begin() as connection:
            storage = PostgresStorage(connection, now)
            limiter = FixedWindowRateLimiter(storage)
            for limit, subject in limits:
                if not await limiter.hit(limit.item, limit.name, subject):
                    reached = limit
                    stats = await limiter.get_window_stats(limit.item, limit.name, subject)
                    break
            else:
                return
        window = reached.item.get_expiry()
        wait = max(1, round(stats.reset_time - now.timestamp() + 0.5))
        raise Problem(
            429,
            "rate_limit.exceeded",
            "Too many requests",
            f"At most {reached.item.amount} in {describe(window)}. Try again in {describe(wait)}.",
            headers=[
                ("Retry-After", str(wait)),
                ("RateLimit-Policy", f'"{reached.name}";q={reached.item.amount};w={window}'),
                ("RateLimit", f'"{reached.name}";r={stats.remaining};t={wait}'),
            ],
        )


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
