"""`/api/v1/dividends/statements`: royalty statements, their lines, and their totals."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request

from audifi.auth.dependencies import CurrentUser
from audifi.core.db.database import Transaction
from audifi.core.http import problems as http_problems
from audifi.core.http.dependencies import Now, services_of
from audifi.core.http.openapi import operation_id, raises
from audifi.core.http.routing import StrictRoute
from audifi.core.http.schemas import Cursor, PageLimit
from audifi.masters.problems import too_many_uploads, upload_expired
from audifi.royalties import assigning, limits, problems, queries, schemas, statements
from audifi.royalties.limits import WRITES
from audifi.royalties.models import LineStatus
from audifi.royalties.queries import LineRow, StatementRow, TotalRow

router = APIRouter(
    prefix="/api/v1/dividends/statements",
    tags=["royalties"],
    generate_unique_id_function=operation_id,
    route_class=StrictRoute,
)

StatementId = Annotated[
    UUID, Path(description="The statement's id.", examples=["01930b5a-7c1e-7d3f-8a52-6f0e4b9c2d17"])
]
StatusFilter = Annotated[LineStatus | None, Query(description="Only lines with this status.", examples=["unmatched"])]


@router.get("", summary="List the account's statements")
async def list_statements(
    request: Request, user: CurrentUser, limit: PageLimit = 20, cursor: Cursor = None
) -> schemas.StatementPage:
    """Return the statements that the account has uploaded, the newest first."""
    services = services_of(request)
    page = await queries.OWN.fetch(
        services.database, services.cursors, sort="-created_at", limit=limit, cursor=cursor, user_id=user.id
    )
    return schemas.StatementPage(data=[_statement(row) for row in page.rows], next_cursor=page.next_cursor)


@router.post("", status_code=201, summary="Begin to upload a statement", dependencies=WRITES)
@raises(
    problems.duplicate(),
    problems.nothing_to_match(),
    problems.limit_reached(limits.MAX_ACCOUNT_LINES),
    too_many_uploads(limits.MAX_AT_ONCE),
)
async def begin_statement(
    request: Request, user: CurrentUser, now: Now, body: schemas.StatementUpload
) -> schemas.StatementCreated:
    """Return a URL to which the client sends the file within 15 minutes; then it completes the upload.

    Lines count for the account's own offered masters; for an admin, for those of all artists. At most 1,000,000 lines;
    20 statements a day, 3 at once.
    """
    services = services_of(request)
    await services.rate_limiter.hit([(limits.STATEMENTS, str(user.id))], now=now)
    new = await statements.begin(services.database, services.files, user=user, body=body, now=now)
    return schemas.StatementCreated(id=new.id, url=new.url, headers=dict(new.headers), expires_at=new.expires_at)


@router.post("/{statement_id}/complete", status_code=202, summary="Import a statement", dependencies=WRITES)
@raises(http_problems.not_found(), problems.duplicate(), upload_expired())
async def complete_statement(
    request: Request, user: CurrentUser, now: Now, statement_id: StatementId
) -> schemas.Statement:
    """Queue the import of the file that was sent. Read the statement until it is imported. Repeating it is no error.

    All of the file is imported, or nothing. The revenue of each master is recorded as one event.
    """
    services = services_of(request)
    return _statement(
        await statements.complete(services.database, services.jobs, user=user, statement_id=statement_id, now=now)
    )


@router.get("/{statement_id}", summary="Get a statement")
@raises(http_problems.not_found())
async def get_statement(request: Request, user: CurrentUser, statement_id: StatementId) -> schemas.Statement:
    """Return its state and the import's progress."""
    return _statement(await statements.read(services_of(request).database, user=user, statement_id=statement_id))


@router.get("/{statement_id}/lines", summary="List a statement's lines")
@raises(http_problems.not_found())
async def list_statement_lines(
    request: Request,
    user: CurrentUser,
    statement_id: StatementId,
    status: StatusFilter = None,
    limit: PageLimit = 20,
    cursor: Cursor = None,
) -> schemas.LinePage:
    """Return the lines in the order of the file. They are deleted 400 days after the import."""
    services = services_of(request)
    await statements.read(services.database, user=user, statement_id=statement_id)
    page = await queries.STATEMENT_LINES.fetch(
        services.database,
        services.cursors,
        sort="number",
        limit=limit,
        cursor=cursor,
        filters={"status": status},
        statement_id=statement_id,
    )
    return schemas.LinePage(data=[_line(row) for row in page.rows], next_cursor=page.next_cursor)


@router.get("/{statement_id}/totals", summary="List a statement's totals")
@raises(http_problems.not_found())
async def list_statement_totals(
    request: Request, user: CurrentUser, statement_id: StatementId, limit: PageLimit = 20, cursor: Cursor = None
) -> schemas.StatementTotalPage:
    """Return what was added up and recorded for each master, the oldest first."""
    services = services_of(request)
    await statements.read(services.database, user=user, statement_id=statement_id)
    page = await queries.STATEMENT_TOTALS.fetch(
        services.database, services.cursors, sort="id", limit=limit, cursor=cursor, statement_id=statement_id
    )
    return schemas.StatementTotalPage(data=[_total(row) for row in page.rows], next_cursor=page.next_cursor)


@router.post("/{statement_id}/confirm", summary="Decide on a suspected duplicate", dependencies=WRITES)
@raises(http_problems.not_found(), problems.not_suspected("imported"))
async def confirm_statement(
    request: Request, user: CurrentUser, now: Now, statement_id: StatementId, body: schemas.StatementDecision
) -> schemas.Statement:
    """Import a statement with lines that another statement has, too, or discard it.

    Reports by month of sale and by month of reporting overlap: the same lines must not count twice.
    """

    async def work(tx: Transaction) -> StatementRow:
        return await statements.decide(tx, user=user, statement_id=statement_id, decision=body.decision, now=now)

    return _statement(await services_of(request).database.run(work))


@router.post("/{statement_id}/match", summary="Match lines by hand", dependencies=WRITES)
@raises(http_problems.not_found(), problems.not_imported("pending"), problems.lines_suspected(12))
async def match_statement_lines(
    request: Request, user: CurrentUser, now: Now, statement_id: StatementId, body: schemas.LineMatch
) -> schemas.LineMatchResult:
    """Give unmatched lines to a master, and record their revenue. Repeating it changes nothing."""

    async def work(tx: Transaction) -> assigning.Matched:
        return await assigning.match(tx, user=user, statement_id=statement_id, body=body, now=now)

    matched = await services_of(request).database.run(work)
    return schemas.LineMatchResult(matched_lines=matched.matched_lines, remaining_lines=matched.remaining_lines)


def _statement(row: StatementRow) -> schemas.Statement:
    failure = None
    if row.failure is not None:
        failure = schemas.Failure(code=row.failure, detail=row.failure_detail or "", line=row.failure_line)
    return schemas.Statement(
        id=row.id,
        status=row.status,
        preset=row.preset,
        format=row.format,
        provider=row.provider,
        failure=failure,
        size=row.size,
        bytes_read=row.bytes_read,
        lines=row.lines,
        unmatched_lines=row.unmatched_lines,
        suspected_lines=row.suspected_lines,
        created_at=row.created_at,
        imported_at=row.imported_at,
    )


def _line(row: LineRow) -> schemas.Line:
    return schemas.Line.model_validate(row, from_attributes=True)


def _total(row: TotalRow) -> schemas.StatementTotal:
    return schemas.StatementTotal.model_validate(row, from_attributes=True)
