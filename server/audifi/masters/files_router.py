"""`/api/v1/masters/{master_id}/…`: uploads, and links to the files."""

from datetime import timedelta
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Request

from audifi.auth.dependencies import CurrentUser, OptionalUser
from audifi.auth.session_checks import CheckedUser
from audifi.core.http import problems as http_problems
from audifi.core.http.dependencies import Now, services_of
from audifi.core.http.openapi import operation_id, raises
from audifi.core.http.routing import StrictRoute
from audifi.masters import problems, schemas, uploads
from audifi.masters.limits import UPLOADS, WRITES
from audifi.masters.models import UploadKind
from audifi.masters.reading import MasterId, manages, read_visible
from audifi.masters.uploads import UploadRow

router = APIRouter(
    prefix="/api/v1/masters", tags=["masters"], generate_unique_id_function=operation_id, route_class=StrictRoute
)

LINK_LIFETIME = timedelta(minutes=5)
UploadId = Annotated[UUID, Path(description="The upload's id.", examples=["01930b5a-7c1e-7d3f-8a52-6f0e4b9c2d17"])]


@router.post("/{master_id}/upload", status_code=201, summary="Begin an upload", dependencies=WRITES)
@raises(
    http_problems.not_found(),
    problems.too_many_uploads(uploads.MAX_AT_ONCE),
    problems.frozen(["audio"]),
    problems.suspended(),
)
async def begin_upload(
    request: Request, user: CurrentUser, now: Now, master_id: MasterId, body: schemas.UploadRequest
) -> schemas.UploadCreated:
    """Return a URL to which the client sends the content within 15 minutes; then it completes the upload.

    At most 20 a day, and 3 at once.
    """
    services = services_of(request)
    await services.rate_limiter.hit([(UPLOADS, str(user.id))], now=now)
    new = await uploads.begin(
        services.database, services.files, artist_id=user.id, master_id=master_id, body=body, now=now
    )
    return schemas.UploadCreated(upload_id=new.id, url=new.url, headers=new.headers, expires_at=new.expires_at)


@router.post("/{master_id}/upload/{upload_id}/complete", status_code=202, summary="Complete an upload")
@raises(http_problems.not_found(), problems.upload_expired())
async def complete_upload(
    request: Request, user: CurrentUser, now: Now, master_id: MasterId, upload_id: UploadId
) -> schemas.Upload:
    """Queue the verification of the content. Read the upload until it is verified or failed. Repeating it is no error.

    A verified file makes a master that was submitted, rejected or approved a draft again. New audio voids the
    confirmation of rights.
    """
    services = services_of(request)
    row = await uploads.complete(
        services.database, services.jobs, artist_id=user.id, master_id=master_id, upload_id=upload_id, now=now
    )
    return _upload(row)


@router.get("/{master_id}/upload/{upload_id}", summary="Get an upload")
@raises(http_problems.not_found())
async def get_upload(request: Request, user: CurrentUser, master_id: MasterId, upload_id: UploadId) -> schemas.Upload:
    """Return its state. An upload that didn't become the master's is deleted after a day."""
    database = services_of(request).database
    return _upload(await uploads.read(database, artist_id=user.id, master_id=master_id, upload_id=upload_id))


@router.get("/{master_id}/audio", summary="Get a link to the audio")
@raises(http_problems.not_found(), problems.suspended())
async def get_audio(request: Request, user: CurrentUser, now: Now, master_id: MasterId) -> schemas.FileLink:
    """Return a link for 5 minutes: of an offered master for each account, of others for the artist and admins."""
    return await _link(request, user, now=now, master_id=master_id, kind="audio")


@router.get("/{master_id}/cover", summary="Get a link to the cover", openapi_extra={"security": [{}]})
@raises(http_problems.not_found(), problems.suspended())
async def get_cover(request: Request, user: OptionalUser, now: Now, master_id: MasterId) -> schemas.FileLink:
    """Return a link for 5 minutes: of an offered master for everybody, of others for the artist and admins."""
    return await _link(request, user, now=now, master_id=master_id, kind="cover")


async def _link(
    request: Request, user: CheckedUser | None, *, now: Now, master_id: UUID, kind: UploadKind
) -> schemas.FileLink:
    services = services_of(request)
    row = await read_visible(services.database, user, master_id)
    if row.suspended_at is not None and not manages(user, row):
        raise problems.suspended()
    sha256 = row.audio_sha256 if kind == "audio" else row.cover_sha256
    if sha256 is None:
        raise http_problems.not_found()
    url = services.files.sign_download(uploads.stored(sha256), lifetime=LINK_LIFETIME)
    return schemas.FileLink(url=url, expires_at=now + LINK_LIFETIME)


def _upload(row: UploadRow) -> schemas.Upload:
    return schemas.Upload(id=row.id, kind=row.kind, status=row.status, failure=row.failure)
