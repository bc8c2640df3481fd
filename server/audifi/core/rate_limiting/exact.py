"""Exact rate limits, counted in PostgreSQL for all machines together."""

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import CTE, BigInteger, DateTime, Integer, Text, bindparam, case, literal, select, union_all
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from audifi.core.rate_limiting.limits import CounterKeys, Limit, check
from audifi.core.rate_limiting.models import RateLimitCounter


class RateLimiter:
    """Fixed windows that start with the first request. Counts stay when the request fails: they have a transaction."""

    def __init__(self, engine: AsyncEngine, keys: CounterKeys) -> None:
        self._engine = engine
        self._keys = keys

    async def hit(self, limits: Sequence[tuple[Limit, str]], *, now: datetime) -> None:
        """Count a request for each limit and its subject, in order, up to the first limit that is reached.

        Raises:
            RateLimitExceededError: a limit is reached; those after it haven't counted the request.
        """
        parameters: dict[str, object] = {"now": now}
        for index, (limit, subject) in enumerate(limits):
            parameters[f"key_{index}"] = self._keys.key(limit, subject)
            parameters[f"amount_{index}"] = limit.amount
            parameters[f"expires_at_{index}"] = now + limit.per
        async with self._engine.begin() as connection:
            counters = (await connection.execute(_count_statement(len(limits)), parameters)).all()
        for (limit, _), (_, count, expires_at) in zip(limits, counters, strict=False):
            check(limit, count=count, expires_at=expires_at.timestamp(), now=now.timestamp())


@lru_cache
def _count_statement(size: int) -> Any:
    """Return the statement that counts for `size` limits: one upsert each, which runs if the one before is within it.

    Each upsert reads the count that the one before returns, which also gives PostgreSQL their order. All requests lock
    the rows in the order of their limits, so that none deadlocks with another.
    """
    upserts: list[CTE] = []
    for index in range(size):
        row = select(
            bindparam(f"key_{index}", type_=Text),
            literal(1, BigInteger),
            bindparam(f"expires_at_{index}", type_=DateTime(timezone=True)),
        )
        if upserts:
            row = row.where(upserts[-1].c.count <= bindparam(f"amount_{index - 1}", type_=BigInteger))
        new = insert(RateLimitCounter).from_select(["key", "count", "expires_at"], row)
        is_over = RateLimitCounter.expires_at <= bindparam("now", type_=DateTime(timezone=True))
        upsert = new.on_conflict_do_update(
            index_elements=["key"],
            set_={
                "count": case((is_over, new.excluded.count), else_=RateLimitCounter.count + new.excluded.count),
                "expires_at": case((is_over, new.excluded.expires_at), else_=RateLimitCounter.expires_at),
            },
        )
        upserts.append(
            upsert.returning(
                literal(index, Integer).label("position"), RateLimitCounter.count, RateLimitCounter.expires_at
            ).cte(f"limit_{index}")
        )
    return union_all(*(select(upsert) for upsert in upserts)).order_by("position")
