"""Imports a statement: the file is read from the disk, copied line by line into the table, added up, and recorded.

One transaction: after a crash at any point, the statement is wholly there or not. The parser runs in a thread, and
PostgreSQL reads what it writes, so that the event loop only passes bytes on.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO
from uuid import UUID

from sqlalchemy import bindparam, select, true, update

from audifi.core.clock import Clock
from audifi.core.db.database import Database, Transaction
from audifi.core.db.statements import Statement
from audifi.core.files.download import HashMismatchError, MakeFile, TooLongError, download
from audifi.core.files.store import FileStore, MissingFileError
from audifi.masters.uploads import incoming
from audifi.royalties.lines import COPIED, Line, LineParser, batches, encode
from audifi.royalties.matching import Matcher
from audifi.royalties.models import StatementStatus
from audifi.royalties.presets import columns_of
from audifi.royalties.queries import COLUMNS, STATEMENTS, StatementRow
from audifi.royalties.reading import StatementError, TextLines, read_records
from audifi.royalties.settling import SUMS, SumRow, duplicates, lock_carries, record_revenue

BATCH_LINES = 5000
PROGRESS_BATCHES = 10
"""Batches between two reports of progress."""

IS_STATEMENT = STATEMENTS.c.id == bindparam("statement_id")
GET_TO_IMPORT = Statement(select(*COLUMNS).where(IS_STATEMENT))
LOCK_STATUS = Statement(select(STATEMENTS.c.status).where(IS_STATEMENT).with_for_update(key_share=True))
REPORT = Statement(
    update(STATEMENTS)
    .where(IS_STATEMENT, STATEMENTS.c.status == "parsing")
    .values(bytes_read=bindparam("new_bytes_read"))
)
FAIL = Statement(
    update(STATEMENTS)
    .where(IS_STATEMENT, STATEMENTS.c.status == "parsing")
    .values(
        status="failed",
        failure=bindparam("new_failure"),
        failure_detail=bindparam("new_detail"),
        failure_line=bindparam("new_line"),
    )
)
FINISH = Statement(
    update(STATEMENTS)
    .where(IS_STATEMENT)
    .values(
        {
            name: bindparam(f"new_{name}")
            for name in ("status", "imported_at", "lines", "last_line", "unmatched_lines", "suspected_lines")
        }
        | {"bytes_read": STATEMENTS.c.size}
    )
)
DUPLICATES = duplicates(true())


@dataclass
class Counts:
    """The lines that were copied."""

    lines: int = 0
    unmatched: int = 0
    last_number: int = 0


@dataclass(frozen=True, kw_only=True)
class Importer:
    """What an import needs of the process."""

    database: Database
    """For single statements: an import doesn't hold one of its connections."""
    connect: Callable[[], Database]
    """Returns the connection of an import, whose statements may take minutes."""
    files: FileStore
    make_file: MakeFile
    currencies: Collection[str]
    clock: Clock
    on_lines: Callable[[str, int], None]
    """Called with a status and the number of lines that were imported with it."""

    async def run(self, statement_id: UUID) -> None:
        """Import a statement, or write down why it can't be. Running it again, after a crash at any point, is safe.

        Raises:
            FileStoreError: the storage can't be reached; another attempt may succeed.
        """
        statement = await self.database.fetch_one(GET_TO_IMPORT, StatementRow, statement_id=statement_id)
        if statement is None:
            return
        if statement.status == "parsing":
            try:
                await self._import(statement)
            except StatementError as error:
                await self.database.execute(
                    FAIL,
                    statement_id=statement_id,
                    new_failure=error.code,
                    new_detail=error.detail,
                    new_line=error.line,
                )
        await self.files.delete(incoming(statement_id))

    async def _import(self, statement: StatementRow) -> None:
        with self.make_file() as file:
            await self._download(statement, file)
            lines, counts = TextLines(file), Counts()
            async with self.connect() as database, database.transaction() as tx:
                await tx.copy("royalty_lines", COPIED, self._rows(statement, lines, counts))
                await _finish(tx, statement, counts, now=self.clock())
        self.on_lines("matched", counts.lines - counts.unmatched)
        self.on_lines("unmatched", counts.unmatched)

    async def _download(self, statement: StatementRow, file: BinaryIO) -> None:
        try:
            await download(self.files, incoming(statement.id), file, size=statement.size, sha256=statement.sha256)
        except MissingFileError:
            raise StatementError("statement.unreadable", "No file was sent to the URL.") from None
        except TooLongError:
            raise StatementError("statement.too_large", "The file is longer than announced.") from None
        except HashMismatchError:
            raise StatementError("statement.hash_mismatch", "The file doesn't have the announced SHA-256.") from None

    async def _rows(self, statement: StatementRow, lines: TextLines, counts: Counts) -> AsyncIterator[bytes]:
        """Yield the lines as COPY reads them, and count them."""
        matcher = Matcher(self.database, None if statement.of_all_artists else statement.user_id)
        file_batches = self._batches(statement, lines)
        number = 0
        while batch := await asyncio.to_thread(next, file_batches, None):
            masters = await matcher.masters_of(batch)
            counts.lines += len(batch)
            counts.unmatched += masters.count(None)
            counts.last_number = batch[-1].number
            yield await asyncio.to_thread(encode, statement.id, batch, masters)
            number += 1
            if number % PROGRESS_BATCHES == 0:
                await self.database.execute(REPORT, statement_id=statement.id, new_bytes_read=lines.bytes_read)

    def _batches(self, statement: StatementRow, lines: TextLines) -> Iterator[list[Line]]:
        mapping = json.loads(statement.columns) if statement.columns else None
        columns = columns_of(statement.preset, mapping=mapping, currency=statement.currency)
        parser = LineParser(provider=statement.provider, columns=columns, currencies=self.currencies)
        return batches(read_records(lines, statement.format, columns), parser, BATCH_LINES)


async def _finish(tx: Transaction, statement: StatementRow, counts: Counts, *, now: datetime) -> None:
    """Add the lines up, and record the revenue unless they may be duplicates.

    Raises:
        StatementError: the statement was discarded meanwhile.
    """
    if await tx.fetch_value(LOCK_STATUS, statement_id=statement.id) != "parsing":
        raise StatementError("statement.unreadable", "It was discarded with its account.")
    rows = await tx.fetch_all(SUMS, SumRow, statement_id=statement.id)
    carries = await lock_carries(tx, provider=statement.provider, rows=rows)
    # With the carries locked, a statement that was imported meanwhile is seen.
    suspected = await tx.fetch_value(DUPLICATES, statement_id=statement.id)
    if not suspected:
        await record_revenue(
            tx, statement_id=statement.id, provider=statement.provider, rows=rows, carries=carries, now=now
        )
    status: StatementStatus = "suspected_duplicate" if suspected else "imported"
    await tx.execute(
        FINISH,
        statement_id=statement.id,
        new_status=status,
        new_imported_at=None if suspected else now,
        new_lines=counts.lines,
        new_last_line=counts.last_number,
        new_unmatched_lines=counts.unmatched,
        new_suspected_lines=suspected,
    )
