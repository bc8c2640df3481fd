"""Statements: a client announces a file, sends it to the storage, and has it imported."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg
from sqlalchemy import (
    BigInteger,
    Boolean,
    LargeBinary,
    Uuid,
    bindparam,
    case,
    func,
    insert,
    literal,
    or_,
    select,
    text,
    update,
)
from uuid6 import uuid7

from audifi.auth.service import lock_user
from audifi.auth.session_checks import CheckedUser
from audifi.core.db.database import Database, Transaction
from audifi.core.db.statements import Statement, parameters
from audifi.core.files.store import FileStore
from audifi.core.http import problems as http_problems
from audifi.core.jobs.queue import JobQueue
from audifi.masters.problems import too_many_uploads, upload_expired
from audifi.masters.uploads import COMPLETE_WITHIN, URL_LIFETIME, incoming
from audifi.royalties import limits, problems
from audifi.royalties.lines import MAX_LINES
from audifi.royalties.matching import HAS_OFFERING, MASTERS
from audifi.royalties.presets import PRESETS
from audifi.royalties.queries import COLUMNS, GET, LOCK, STATEMENTS, StatementRow
from audifi.royalties.schemas import Decision, StatementUpload
from audifi.royalties.settling import SUMS, SumRow, lock_carries, record_revenue

IMPORT_STATEMENT = "import_statement"


@dataclass(frozen=True, slots=True)
class UsageRow:
    """What an account has under way and stored."""

    at_once: int
    lines: int
    is_duplicate: bool
    has_offering: bool


BELONGS = STATEMENTS.c.user_id == bindparam("user_id", type_=Uuid)
IS_PARSING = text("royalty_statements.status = 'parsing'")
IS_UNDER_WAY = or_(
    IS_PARSING,
    text("royalty_statements.status = 'pending'") & (STATEMENTS.c.expires_at > bindparam("now")),
)
IS_STORED = STATEMENTS.c.deleted_to < STATEMENTS.c.last_line
USAGE = Statement(
    select(
        select(func.count()).select_from(STATEMENTS).where(BELONGS, IS_UNDER_WAY).scalar_subquery().label("at_once"),
        select(func.coalesce(func.sum(case((IS_STORED, STATEMENTS.c.lines), else_=MAX_LINES)), 0).cast(BigInteger))
        .where(BELONGS, or_(IS_STORED, IS_UNDER_WAY))
        .scalar_subquery()
        .label("lines"),
        select(literal(1))
        .where(
            STATEMENTS.c.sha256 == bindparam("sha256", type_=LargeBinary),
            text("royalty_statements.status IN ('parsing', 'suspected_duplicate', 'imported')"),
            or_(BELONGS, bindparam("is_admin", type_=Boolean)),
        )
        .exists()
        .label("is_duplicate"),
        select(MASTERS.c.id)
        .where(MASTERS.c.artist_id == bindparam("user_id", type_=Uuid), HAS_OFFERING)
        .exists()
        .label("has_offering"),
    )
)
INSERT = Statement(
    insert(STATEMENTS).values(
        parameters(
            "id",
            "user_id",
            "of_all_artists",
            "preset",
            "format",
            "provider",
            "columns",
            "currency",
            "size",
            "sha256",
            "expires_at",
            "lines_expire_at",
            "created_at",
        )
        | {"status": "pending"}
    )
)
COMPLETE = Statement(
    update(STATEMENTS)
    .where(
        STATEMENTS.c.id == bindparam("statement_id"),
        BELONGS,
        text("royalty_statements.status = 'pending'"),
        STATEMENTS.c.expires_at > bindparam("not_before"),
    )
    .values(status="parsing")
    .returning(*COLUMNS)
)
DECIDE = Statement(
    update(STATEMENTS)
    .where(STATEMENTS.c.id == bindparam("statement_id"))
    .values(
        status=bindparam("new_status"),
        decided_by=bindparam("new_decided_by"),
        imported_at=bindparam("new_imported_at"),
        lines_expire_at=bindparam("new_lines_expire_at"),
    )
    .returning(*COLUMNS)
)


@dataclass(frozen=True, kw_only=True)
class NewStatement:
    id: UUID
    url: str
    headers: Mapping[str, str]
    expires_at: datetime


async def begin(
    database: Database, files: FileStore, *, user: CheckedUser, body: StatementUpload, now: datetime
) -> NewStatement:
    """Return the URL to which the client sends exactly what it announces.

    Raises:
        Problem: 409.
    """
    statement_id, sha256, expires_at = uuid7(), bytes.fromhex(body.sha256), now + URL_LIFETIME
    is_admin = user.role == "admin"
    async with database.transaction() as tx:
        await lock_user(tx, user.id)
        usage = await tx.fetch_row(USAGE, UsageRow, user_id=user.id, is_admin=is_admin, sha256=sha256, now=now)
        _check_usage(usage, is_admin=is_admin)
        await tx.execute(
            INSERT,
            id=statement_id,
            user_id=user.id,
            of_all_artists=is_admin,
            preset=body.preset,
            format=body.format,
            provider=PRESETS[body.preset].provider or body.provider,
            columns=json.dumps(body.columns.model_dump(exclude_none=True)) if body.columns else None,
            currency=body.currency,
            size=body.size,
            sha256=sha256,
            expires_at=expires_at,
            lines_expire_at=now + limits.LINES_KEPT,
            created_at=now,
        )
    target = files.sign_upload(
        incoming(statement_id),
        size=body.size,
        sha256=sha256,
        content_type="application/octet-stream",
        lifetime=URL_LIFETIME,
    )
    return NewStatement(id=statement_id, url=target.url, headers=target.headers, expires_at=expires_at)


def _check_usage(usage: UsageRow, *, is_admin: bool) -> None:
    if not (usage.has_offering or is_admin):
        raise problems.nothing_to_match()
    if usage.is_duplicate:
        raise problems.duplicate()
    if usage.at_once >= limits.MAX_AT_ONCE:
        raise too_many_uploads(limits.MAX_AT_ONCE)
    if usage.lines + MAX_LINES > limits.MAX_ACCOUNT_LINES:
        raise problems.limit_reached(limits.MAX_ACCOUNT_LINES)


async def complete(
    database: Database, jobs: JobQueue, *, user: CheckedUser, statement_id: UUID, now: datetime
) -> StatementRow:
    """Queue the import of a file that was sent; return the statement. Repeating it changes nothing.

    Raises:
        Problem: 404, or 409.
    """
    try:
        async with database.transaction() as tx:
            row = await tx.fetch_one(
                COMPLETE, StatementRow, statement_id=statement_id, user_id=user.id, not_before=now - COMPLETE_WITHIN
            )
            if row is not None:
                await jobs.enqueue(tx, IMPORT_STATEMENT, statement_id.bytes)
                return row
    except asyncpg.UniqueViolationError:  # the same file, completed between this statement's beginning and now
        raise problems.duplicate() from None
    row = await read(database, user=user, statement_id=statement_id)
    if row.status == "pending":
        raise upload_expired()
    return row


async def read(database: Database, *, user: CheckedUser, statement_id: UUID) -> StatementRow:
    """Return a statement of the account, or, for an admin, any.

    Raises:
        Problem: 404.
    """
    row = await database.fetch_one(
        GET, StatementRow, statement_id=statement_id, user_id=user.id, is_admin=user.role == "admin"
    )
    if row is None:
        raise http_problems.not_found()
    return row


async def lock(tx: Transaction, *, user: CheckedUser, statement_id: UUID) -> StatementRow:
    """Lock a statement that the user may see.

    Raises:
        Problem: 404.
    """
    row = await tx.fetch_one(
        LOCK, StatementRow, statement_id=statement_id, user_id=user.id, is_admin=user.role == "admin"
    )
    if row is None:
        raise http_problems.not_found()
    return row


async def decide(
    tx: Transaction, *, user: CheckedUser, statement_id: UUID, decision: Decision, now: datetime
) -> StatementRow:
    """Import a suspected duplicate, or discard it.

    Raises:
        Problem: 404, or 409.
    """
    statement = await lock(tx, user=user, statement_id=statement_id)
    if statement.status != "suspected_duplicate":
        raise problems.not_suspected(statement.status)
    if decision == "import":
        rows = await tx.fetch_all(SUMS, SumRow, statement_id=statement_id)
        carries = await lock_carries(tx, provider=statement.provider, rows=rows)
        await record_revenue(
            tx, statement_id=statement_id, provider=statement.provider, rows=rows, carries=carries, now=now
        )
    return await tx.fetch_row(
        DECIDE,
        StatementRow,
        statement_id=statement_id,
        new_status="imported" if decision == "import" else "discarded",
        new_decided_by=user.id,
        new_imported_at=now if decision == "import" else None,
        new_lines_expire_at=now + limits.LINES_KEPT if decision == "import" else now,
    )
