"""Exact rate limits, counted in PostgreSQL for all machines together."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from sqlalchemy import CTE, BigInteger, DateTime, Integer, Text, bindparam, case, literal, select, union_all
from sqlalchemy.dialects.postgresql import insert

from audifi.core.db.database import Database
from audifi.core.db.statements import Statement
from audifi.core.rate_limiting.limits import CounterKeys, Limit, check
from audifi.core.rate_limiting.models import RateLimitCounter


@dataclass(frozen=True, slots=True)
class CounterRow:
    position: int
    count: int
    expires_at: datetime


class RateLimiter:
    """Fixed windows that start with the first request. Counts stay when the request fails: they have a transaction."""

    def __init__(self, database: Database, keys: CounterKeys, *, factor: int = 1) -> None:
        self._database = database
        self._keys = keys
        self._factor = factor

    async def hit(self, limits: Sequence[tuple[Limit, str]], *, now: datetime) -> None:
        """Count a request for each limit and its subject, in order, up to the first limit that is reached.

        Raises:
            RateLimitExceededError: a limit is reached; those after it haven't counted the request.
        """
        limits = [(limit.times(self._factor), subject) for limit, subject in limits]
        parameters: dict[str, object] = {"now": now}
        for index, (limit, subject) in enumerate(limits):
            parameters[f"key_{index}"] = self._keys.key(limit, subject)
            parameters[f"amount_{index}"] = limit.amount
            parameters[f"expires_at_{index}"] = now + limit.per
        del parameters[f"amount_{len(limits) - 1}"]  # no counter follows the last one
        counters = await self._database.write_all(_count_statement(len(limits)), CounterRow, **parameters)
        for (limit, _), counter in zip(limits, counters, strict=False):
            check(limit, count=counter.count, expires_at=counter.expires_at.timestamp(), now=now.timestamp())


@lru_cache
def _count_statement(size: int) -> Statement:
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
    return Statement(union_all(*(select(upsert) for upsert in upserts)).order_by("position"))
