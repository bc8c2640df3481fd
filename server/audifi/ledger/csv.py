"""Statements as CSV (RFC 4180), for spreadsheets."""

import csv
import io
from collections.abc import AsyncIterable, AsyncIterator, Sequence

from audifi.core.db.database import Database
from audifi.ledger.queries import EntryRow, StatementRow, entries_of

COLUMNS = ("posted_at", "occurred_at", "transfer_id", "kind", "reference", "asset", "amount", "balance_after")
FORMULA = ("=", "+", "-", "@", "\t", "\r")
CHUNK_CHARACTERS = 32_768


async def lines(database: Database, statement: StatementRow) -> AsyncIterator[str]:
    """Yield the text in chunks; amounts are decimals of the asset's scale."""
    async for chunk in chunks(COLUMNS, (_cells(entry, statement) async for entry in entries_of(database, statement))):
        yield chunk


async def chunks(columns: Sequence[str], rows: AsyncIterable[Sequence[str]]) -> AsyncIterator[str]:
    """Yield a header and rows as CSV, in chunks."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(columns)
    async for row in rows:
        writer.writerow(row)
        if buffer.tell() > CHUNK_CHARACTERS:
            yield buffer.getvalue()
            buffer.seek(0)
            buffer.truncate()
    yield buffer.getvalue()


def _cells(entry: EntryRow, statement: StatementRow) -> list[str]:
    return [
        entry.posted_at.isoformat(),
        entry.occurred_at.isoformat(),
        str(entry.transfer_id),
        entry.kind,
        escape(entry.reference),
        statement.asset,
        decimal(entry.amount, statement.scale),
        decimal(entry.balance_after, statement.scale),
    ]


def escape(text: str) -> str:
    """Keep a spreadsheet from reading text as a formula (OWASP, CSV Injection)."""
    return f"'{text}" if text.startswith(FORMULA) else text


def decimal(amount: int, scale: int) -> str:
    """Return base units as a decimal number: 1234 at scale 2 is 12.34."""
    sign, digits = "-" if amount < 0 else "", str(abs(amount)).zfill(scale + 1)
    return f"{sign}{digits[:-scale]}.{digits[-scale:]}" if scale else f"{sign}{digits}"
