"""`/api/v1/masters`: registration, metadata, rights, and the way to an offering."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from audifi.auth.dependencies import CurrentUser, OptionalUser, require_role
from audifi.auth.session_checks import CheckedUser
from audifi.core.db.database import Transaction
from audifi.core.http import problems as http_problems
from audifi.core.http.client_info import shortened
from audifi.core.http.conditional import ExpectedVersion, set_etag
from audifi.core.http.dependencies import ClientInfoDep, DatabaseDep, Now, services_of
from audifi.core.http.openapi import operation_id, raises
from audifi.core.http.routing import StrictRoute
from audifi.core.http.schemas import Cursor, PageLimit
from audifi.core.idempotency.dependencies import Idempotent
from audifi.masters import problems, queries, rights, schemas, service, states
from audifi.masters.limits import WRITES
from audifi.masters.models import MasterStatus
from audifi.masters.queries import FullMasterRow, MasterRow
from audifi.masters.reading import MasterId, read_visible
from audifi.masters.states import Actor
from audifi.subscriptions import problems as plans

router = APIRouter(
    prefix="/api/v1/masters", tags=["masters"], generate_unique_id_function=operation_id, route_class=StrictRoute
)
rights_router = APIRouter(tags=["masters"], generate_unique_id_function=operation_id, route_class=StrictRoute)

Admin = Annotated[CheckedUser, Depends(require_role("admin"))]
StatusFilter = Annotated[MasterStatus | None, Query(description="Only masters with this status.", examples=["draft"])]


@router.get("", summary="List the account's masters")
async def list_masters(
    request: Request,
    database: DatabaseDep,
    user: CurrentUser,
    status: StatusFilter = None,
    sort: Annotated[schemas.Sort, Query(description="`-` sorts descending.", examples=["created_at"])] = "-created_at",
    limit: PageLimit = 20,
    cursor: Cursor = None,
) -> schemas.MasterPage:
    """Return one page of the account's own masters, without tracks and collaborators."""
    page = await queries.MASTERS.fetch(
        database,
        services_of(request).cursors,
        sort=sort,
        limit=limit,
        cursor=cursor,
        filters={"status": status},
        artist_id=user.id,
    )
    return schemas.MasterPage(data=[_summary(row) for row in page.rows], next_cursor=page.next_cursor)


@router.post("", status_code=201, summary="Register a master", response_model=schemas.Master, dependencies=WRITES)
@raises(problems.limit_reached(service.MAX_MASTERS), plans.LIMIT_OF_MASTERS)
async def create_master(user: CurrentUser, now: Now, idempotent: Idempotent, body: schemas.MasterCreate) -> Response:
    """Create a draft, once, however often the request is sent. The account becomes its artist."""

    async def effect(transaction: Transaction) -> schemas.Master:
        return _master(await service.create(transaction, artist_id=user.id, body=body, now=now))

    return await idempotent.run(user_id=user.id, body=body, effect=effect)


@router.get("/{master_id}", summary="Get a master", openapi_extra={"security": [{}]})
@raises(http_problems.not_found())
async def get_master(
    response: Response, database: DatabaseDep, user: OptionalUser, master_id: MasterId
) -> schemas.Master:
    """Return an offered master to everybody, any other one to its artist and to admins.

    Its `ETag` is what changes send as `If-Match`.
    """
    return _with_etag(response, await read_visible(database, user, master_id))


@router.patch("/{master_id}", summary="Change a master", dependencies=WRITES)
@raises(http_problems.not_found(), problems.frozen(["title"]), problems.suspended())
async def change_master(
    request: Request,
    response: Response,
    user: CurrentUser,
    master_id: MasterId,
    version: ExpectedVersion,
    body: schemas.MasterUpdate,
) -> schemas.Master:
    """Change the version that was read. A master that was submitted, rejected or approved becomes a draft again.

    A new title, new tracks or new collaborators void the confirmation of rights. Of an offered master only description,
    genre and mood tags can change.
    """
    row = await service.change(
        services_of(request).database, artist_id=user.id, master_id=master_id, body=body, expected_version=version
    )
    return _with_etag(response, row)


@rights_router.get("/api/v1/rights-statement", summary="Get the rights statement")
async def get_rights_statement() -> schemas.RightsStatement:
    """Return the statement that an artist has to confirm. Show its text to the person."""
    return schemas.RightsStatement(version=rights.VERSION, text=rights.TEXT)


@router.post("/{master_id}/confirm-rights", summary="Confirm to hold the rights", dependencies=WRITES)
@raises(http_problems.not_found(), problems.statement_outdated(), problems.frozen([]), problems.suspended())
async def confirm_rights(
    request: Request,
    response: Response,
    user: CurrentUser,
    now: Now,
    client: ClientInfoDep,
    master_id: MasterId,
    body: schemas.RightsConfirm,
) -> schemas.Master:
    """Record the confirmation with its time, the statement and the client's network. Repeating it is no error."""
    row = await service.confirm_rights(
        services_of(request).database,
        artist_id=user.id,
        master_id=master_id,
        statement_version=body.statement_version,
        holder=body.holder,
        ip_prefix=shortened(client.ip) if client.ip else None,
        now=now,
    )
    return _with_etag(response, row)


@router.post("/{master_id}/submit", summary="Submit a master for review", dependencies=WRITES)
@raises(
    http_problems.not_found(),
    problems.incomplete(["rights", "audio", "cover", "tracks"]),
    problems.not_draft(),
    problems.isrc_already_offered(),
    problems.suspended(),
)
async def submit_master(
    request: Request, response: Response, user: CurrentUser, now: Now, master_id: MasterId
) -> schemas.Master:
    """Submit a draft. An admin then approves or rejects it; where masters aren't reviewed, it is approved at once."""
    services = services_of(request)
    async with services.database.transaction() as tx:
        row = await states.submit(
            tx, artist_id=user.id, master_id=master_id, is_reviewed=services.settings.reviews_masters, now=now
        )
    return _with_etag(response, row)


@router.post("/{master_id}/review", summary="Review a submitted master", dependencies=WRITES)
@raises(http_problems.not_found(), problems.not_submitted(), problems.suspended())
async def review_master(
    request: Request,
    response: Response,
    user: Admin,
    now: Now,
    master_id: MasterId,
    version: ExpectedVersion,
    body: schemas.Review,
) -> schemas.Master:
    """Approve or reject the version that was read."""
    async with services_of(request).database.transaction() as tx:
        row = await states.review(
            tx, master_id=master_id, reason=body.reason, expected_version=version, by=Actor(user_id=user.id), now=now
        )
    return _with_etag(response, row)


@router.post("/{master_id}/archive", summary="Archive a master", dependencies=WRITES)
@raises(http_problems.not_found(), problems.offered(), problems.suspended())
async def archive_master(
    request: Request, response: Response, user: CurrentUser, now: Now, master_id: MasterId
) -> schemas.Master:
    """Archive a master that isn't offered, for good. Repeating it is no error."""
    async with services_of(request).database.transaction() as tx:
        row = await states.archive(tx, artist_id=user.id, master_id=master_id, now=now)
    return _with_etag(response, row)


def _with_etag(response: Response, row: FullMasterRow) -> schemas.Master:
    set_etag(response, row.version)
    return _master(row)


def _master(row: FullMasterRow) -> schemas.Master:
    return schemas.Master(**dict(_summary(row)), tracks=row.tracks, collaborators=row.collaborators)


def _summary(row: MasterRow) -> schemas.MasterSummary:
    values = {name: getattr(row, name) for name in schemas.MasterSummary.model_fields if not name.startswith("has_")}
    return schemas.MasterSummary(
        **values, has_audio=row.audio_sha256 is not None, has_cover=row.cover_sha256 is not None
    )
