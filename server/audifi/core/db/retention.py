"""Delete expired rows in batches, so that no run locks rows for long."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    FromClause,
    SQLColumnExpression,
    TableClause,
    any_,
    bindparam,
    delete,
    func,
    select,
    true,
)

from audifi.core.db.database import Database
from audifi.core.db.statements import Statement

logger = logging.getLogger(__name__)

BATCH_ROWS = 1000
MAX_BATCHES = 10


@dataclass(frozen=True, kw_only=True)
class ExpiredRows:
    """The rows of a table to delete."""

    table: FromClause
    """Its first column must be its key."""
    by: SQLColumnExpression[Any]
    """The time of a row; must have an index."""
    before: datetime
    only: ColumnElement[bool] = field(default_factory=true)


async def delete_expired(database: Database, expired: Sequence[ExpiredRows]) -> dict[str, int]:
    """Delete at most 10,000 rows of each table, the oldest first; the next run continues.

    Concurrent machines share the work: each skips rows that the other has locked.

    The order and the array force a plan by the index and then by the key. A prepared statement, whose planner expects
    many expired rows, would otherwise scan the whole table.

    Returns:
        How many rows of each table were deleted.
    """
    deleted: dict[str, int] = {}
    for each in expired:
        assert isinstance(each.table, TableClause)  # noqa: S101 - for the type checker
        name, key = each.table.name, next(iter(each.table.columns))
        oldest = (
            select(key).where(each.only, each.by < bindparam("before")).order_by(each.by).limit(bindparam("batch_rows"))
        )
        batch = func.array(oldest.with_for_update(skip_locked=True).scalar_subquery())
        statement = Statement(delete(each.table).where(key == any_(batch)))
        for _ in range(MAX_BATCHES):
            rows = await database.execute(statement, before=each.before, batch_rows=BATCH_ROWS)
            deleted[name] = deleted.get(name, 0) + rows
            if rows < BATCH_ROWS:
                break
    if any(deleted.values()):
        logger.info("retention: %s", " ".join(f"{name}={rows}" for name, rows in deleted.items() if rows))
    return deleted
