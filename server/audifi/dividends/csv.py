"""A year's claims as CSV, for tax returns."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from uuid import UUID

from audifi.core.db.database import Database
from audifi.dividends.queries import BEYOND, ClaimRow, claims_between
from audifi.ledger import problems
from audifi.ledger.csv import chunks, decimal, escape

COLUMNS = ("claimed_at", "master_id", "title", "currency", "amount", "withheld", "paid", "transfer_id")
MAX_ROWS = 1_000_000
TOO_LONG = problems.period_too_long(f"The year has more than {MAX_ROWS:,} claims: read GET /api/v1/dividends/history.")


async def statement(database: Database, *, user_id: UUID, year: int, max_rows: int = MAX_ROWS) -> AsyncIterator[str]:
    """Return the year's claims, in UTC, as chunks of text; amounts are decimal numbers.

    Raises:
        Problem: `period.too_long`.
    """
    period = {"since": datetime(year, 1, 1, tzinfo=UTC), "until": datetime(year + 1, 1, 1, tzinfo=UTC)}
    if await database.fetch_value(BEYOND, user_id=user_id, rows=max_rows, **period) is not None:
        raise TOO_LONG
    return chunks(COLUMNS, (_cells(row) async for row in claims_between(database, user_id=user_id, **period)))


def _cells(row: ClaimRow) -> list[str]:
    return [
        row.created_at.isoformat(),
        str(row.master_id),
        escape(row.title),
        row.currency,
        decimal(row.amount, row.scale),
        decimal(row.withheld, row.scale),
        decimal(row.amount - row.withheld, row.scale),
        str(row.transfer_id),
    ]
