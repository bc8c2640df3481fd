"""Background jobs of statements, and the deletion of what isn't kept."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import BigInteger, and_, bindparam, delete, func, select, text, update

from audifi.core.config.settings import DatabaseSettings
from audifi.core.db.database import Database
from audifi.core.db.retention import ExpiredRows
from audifi.core.db.statements import Statement
from audifi.core.files.download import temporary_file
from audifi.core.files.store import FileStore, FileStoreError
from audifi.core.jobs.queue import JobType
from audifi.masters.uploads import incoming
from audifi.royalties import measures
from audifi.royalties.importing import Importer
from audifi.royalties.limits import ABANDONED_AFTER, ENDED_KEPT
from audifi.royalties.queries import LINES, STATEMENTS
from audifi.royalties.statements import IMPORT_STATEMENT

if TYPE_CHECKING:
    from audifi.services import Services

logger = logging.getLogger(__name__)

ATTEMPTS = 12
"""They take 7 minutes."""
AT_ONCE = 1
"""Statements that a machine imports at the same time: each is a copy on its disk, and uses a core."""
STATEMENT_TIMEOUT_SECONDS = 600
"""Of the import's connection: COPY is one statement."""
BATCH = 100
BATCH_LINES = 10_000
MAX_BATCHES = 20


@dataclass(frozen=True, slots=True)
class ExpiredLines:
    id: UUID
    deleted_to: int
    last_line: int


ABANDONED = Statement(
    select(STATEMENTS.c.id)
    .where(
        text("royalty_statements.status IN ('pending', 'parsing')"),
        text("royalty_statements.status IN ('pending', 'parsing', 'discarded', 'failed')"),  # the index's condition
        STATEMENTS.c.created_at < bindparam("before"),
    )
    .order_by(STATEMENTS.c.created_at)
    .limit(BATCH)
)
DELETE_ABANDONED = Statement(
    delete(STATEMENTS).where(
        STATEMENTS.c.id == bindparam("statement_id"), text("royalty_statements.status IN ('pending', 'parsing')")
    )
)
HAVE_EXPIRED_LINES = Statement(
    select(STATEMENTS.c.id, STATEMENTS.c.deleted_to, STATEMENTS.c.last_line)
    .where(
        text("royalty_statements.deleted_to < royalty_statements.last_line"),
        STATEMENTS.c.lines_expire_at < bindparam("now"),
    )
    .order_by(STATEMENTS.c.lines_expire_at)
    .limit(BATCH)
)
_advanced = (
    update(STATEMENTS)
    .where(STATEMENTS.c.id == bindparam("statement_id"))
    .values(deleted_to=func.least(STATEMENTS.c.last_line, bindparam("up_to", type_=BigInteger)))
    .cte("advanced")
)
DELETE_LINES = Statement(
    delete(LINES)
    .where(LINES.c.statement_id == bindparam("statement_id"), LINES.c.number <= bindparam("up_to", type_=BigInteger))
    .add_cte(_advanced)
)


@dataclass(frozen=True, slots=True)
class AbandonedRow:
    id: UUID


def job_types(services: "Services") -> list[JobType]:
    """Return the jobs of statements."""
    semaphore = asyncio.Semaphore(AT_ONCE)
    importer = Importer(
        database=services.background_database,
        connect=partial(import_database, services.settings),
        files=services.files,
        make_file=temporary_file,
        currencies=services.settings.currencies,
        clock=services.clock,
        on_lines=lambda status, count: services.metrics.count(measures.LINES, status, by=count),
    )

    async def import_statement(payload: bytes) -> None:
        async with semaphore:
            await importer.run(UUID(bytes=payload))

    return [JobType(name=IMPORT_STATEMENT, handler=import_statement, attempts=ATTEMPTS)]


def import_database(settings: DatabaseSettings) -> Database:
    """Return the one connection of an import, which isn't a pool's: it is in use for a minute."""
    limits = {"database_statement_timeout_seconds": STATEMENT_TIMEOUT_SECONDS}
    return Database(settings.model_copy(update=limits), pool_size=1, read_pool_size=1, name="imports")


def retention(now: datetime) -> Sequence[ExpiredRows]:
    """Return failed and discarded statements; lines of a discarded one are deleted before."""
    has_ended = and_(
        text("royalty_statements.status IN ('discarded', 'failed')"),
        text("royalty_statements.status IN ('pending', 'parsing', 'discarded', 'failed')"),  # the index's condition
        STATEMENTS.c.deleted_to >= STATEMENTS.c.last_line,
    )
    return [ExpiredRows(table=STATEMENTS, by=STATEMENTS.c.created_at, before=now - ENDED_KEPT, only=has_ended)]


async def clean_up(services: "Services") -> None:
    """Delete uploads that were abandoned, with their files, and lines that are no longer kept."""
    database, now = services.background_database, services.clock()
    try:
        await delete_abandoned(database, services.files, before=now - ABANDONED_AFTER)
    except FileStoreError as error:
        logger.warning("statements are kept until the next run: error=%s", error)
    await delete_lines(database, now=now)


async def delete_abandoned(database: Database, files: FileStore, *, before: datetime) -> None:
    """Delete statements that were begun before and neither imported nor refused, with their files.

    Raises:
        FileStoreError: the storage can't be reached.
    """
    for statement in await database.fetch_all(ABANDONED, AbandonedRow, before=before):
        await files.delete(incoming(statement.id))
        await database.execute(DELETE_ABANDONED, statement_id=statement.id)


async def delete_lines(database: Database, *, now: datetime) -> int:
    """Delete lines that have expired; at most 200,000 in a run.

    Returns:
        How many were deleted.
    """
    batches, deleted = 0, 0
    for statement in await database.fetch_all(HAVE_EXPIRED_LINES, ExpiredLines, now=now):
        up_to = statement.deleted_to
        while up_to < statement.last_line and batches < MAX_BATCHES:
            up_to += BATCH_LINES
            deleted += await database.execute(DELETE_LINES, statement_id=statement.id, up_to=up_to)
            batches += 1
    if deleted:
        logger.info("royalty lines deleted: count=%d", deleted)
    return deleted
