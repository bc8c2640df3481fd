"""Rows whose time is over are deleted, in batches, so that no run holds up what it shares tables with."""

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, FromClause, TableClause, column, delete, literal_column, select, table
from sqlalchemy.ext.asyncio import AsyncEngine

from audifi.core.models import RateLimitCounter

logger = logging.getLogger(__name__)

BATCH_ROWS = 1000
BATCHES = 10
JOBS_KEPT = timedelta(days=30)

type Expired = tuple[FromClause, ColumnElement[bool]]
"""A table, and which of its rows are to go. Its first column must be its key."""


def expired(now: datetime) -> list[Expired]:
    """What belongs to no feature: counters whose window is over, and what the queue remembers of jobs."""
    jobs = table("pgqueuer", column("id"), column("status"), column("updated"))
    log = table("pgqueuer_log", column("id"), column("created"))
    failed = jobs.c.status == literal_column("'failed'")  # as ix_pgqueuer_failed_updated has it
    return [
        (RateLimitCounter.__table__, RateLimitCounter.expires_at < now),
        (jobs, failed & (jobs.c.updated < now - JOBS_KEPT)),
        (log, log.c.created < now - JOBS_KEPT),
    ]


async def prune(engine: AsyncEngine, expired: Sequence[Expired]) -> dict[str, int]:
    """Delete at most 10,000 rows of each; the rest waits for the next run.

    Two machines at once share the work: each passes over rows that the other has locked.

    Returns:
        How many rows of each table are gone.
    """
    deleted: dict[str, int] = {}
    for rows_of, condition in expired:
        assert isinstance(rows_of, TableClause)  # noqa: S101 - the types of SQLAlchemy don't say so
        key = next(iter(rows_of.columns))
        batch = select(key).where(condition).limit(BATCH_ROWS).with_for_update(skip_locked=True)
        for _ in range(BATCHES):
            async with engine.begin() as connection:
                rows = (await connection.execute(delete(rows_of).where(key.in_(batch)))).rowcount
            deleted[rows_of.name] = deleted.get(rows_of.name, 0) + rows
            if rows < BATCH_ROWS:
                break
    if any(deleted.values()):
        logger.info("housekeeping: %s", ", ".join(f"{rows} {name}" for name, rows in deleted.items() if rows))
    return deleted
