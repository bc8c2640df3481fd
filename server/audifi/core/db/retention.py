"""Rows whose time is over are deleted, in batches, so that no run holds up what it shares tables with."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    FromClause,
    SQLColumnExpression,
    TableClause,
    any_,
    column,
    delete,
    func,
    literal_column,
    select,
    table,
    true,
)
from sqlalchemy.ext.asyncio import AsyncEngine

from audifi.core.rate_limiting.models import RateLimitCounter

logger = logging.getLogger(__name__)

BATCH_ROWS = 1000
BATCHES = 10
JOBS_KEPT = timedelta(days=30)


@dataclass(frozen=True, kw_only=True)
class Expired:
    """Which rows of a table are to go."""

    rows_of: FromClause
    """Its first column must be its key."""
    by: SQLColumnExpression[Any]
    """Must have an index."""
    before: datetime
    only: ColumnElement[bool] = field(default_factory=true)


def expired(now: datetime) -> list[Expired]:
    """What belongs to no feature: counters whose window is over, and what the queue remembers of jobs."""
    jobs = table("pgqueuer", column("id"), column("status"), column("updated"))
    log = table("pgqueuer_log", column("id"), column("created"))
    failed = jobs.c.status == literal_column("'failed'")  # as ix_pgqueuer_failed_updated has it
    return [
        Expired(rows_of=RateLimitCounter.__table__, by=RateLimitCounter.expires_at, before=now),
        Expired(rows_of=jobs, by=jobs.c.updated, before=now - JOBS_KEPT, only=failed),
        Expired(rows_of=log, by=log.c.created, before=now - JOBS_KEPT),
    ]


async def prune(engine: AsyncEngine, expired: Sequence[Expired]) -> dict[str, int]:
    """Delete at most 10,000 rows of each, the oldest first; the rest waits for the next run.

    Two machines at once share the work: each passes over rows that the other has locked.

    The order and the array leave PostgreSQL one way to do it: by the index, and then by the key. Else it would read the
    whole table where it takes many rows to be over, as it does for a prepared statement.

    Returns:
        How many rows of each table are gone.
    """
    deleted: dict[str, int] = {}
    for each in expired:
        assert isinstance(each.rows_of, TableClause)  # noqa: S101 - the types of SQLAlchemy don't say so
        name, key = each.rows_of.name, next(iter(each.rows_of.columns))
        oldest = select(key).where(each.only, each.by < each.before).order_by(each.by).limit(BATCH_ROWS)
        batch = func.array(oldest.with_for_update(skip_locked=True).scalar_subquery())
        for _ in range(BATCHES):
            async with engine.begin() as connection:
                rows = (await connection.execute(delete(each.rows_of).where(key == any_(batch)))).rowcount
            deleted[name] = deleted.get(name, 0) + rows
            if rows < BATCH_ROWS:
                break
    if any(deleted.values()):
        logger.info("housekeeping: %s", ", ".join(f"{rows} {name}" for name, rows in deleted.items() if rows))
    return deleted
