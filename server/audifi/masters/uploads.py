"""Files of masters: a client sends one to the storage by a presigned URL, and a job verifies it.

The URL stays usable until it expires, so what was verified is copied, in the version that was read.
"""

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import BinaryIO
from uuid import UUID

from sqlalchemy import bindparam, case, func, insert, null, or_, select, text, update
from uuid6 import uuid7

from audifi.auth.service import lock_user
from audifi.core.db.database import Database, Transaction
from audifi.core.db.statements import Statement, parameters
from audifi.core.files.download import HashMismatchError, MakeFile, TooLongError, download
from audifi.core.files.store import ChangedFileError, FileStore, MissingFileError
from audifi.core.http import problems as http_problems
from audifi.core.jobs.queue import JobQueue
from audifi.masters import problems, service
from audifi.masters.media import MediaError, inspect_audio, inspect_cover
from audifi.masters.models import Master, MasterUpload, UploadFailure, UploadKind, UploadStatus
from audifi.masters.schemas import UploadRequest

VERIFY_UPLOAD = "verify_upload"
URL_LIFETIME = timedelta(minutes=15)
COMPLETE_WITHIN = timedelta(hours=1)
"""After the URL has expired: a transfer that began before may still end."""
MAX_AT_ONCE = 3

MASTERS = Master.__table__
UPLOADS = MasterUpload.__table__
IS_VERIFYING = UPLOADS.c.status == "verifying"


@dataclass(frozen=True, slots=True)
class UploadRow:
    id: UUID
    kind: UploadKind
    status: UploadStatus
    failure: UploadFailure | None
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class UploadToVerify:
    id: UUID
    master_id: UUID | None
    kind: UploadKind
    status: UploadStatus
    size: int
    sha256: bytes
    content_type: str


COLUMNS = [UPLOADS.c[name] for name in UploadRow.__dataclass_fields__]
BELONGS = (
    (UPLOADS.c.id == bindparam("upload_id"))
    & (UPLOADS.c.master_id == bindparam("master_id"))
    & (UPLOADS.c.artist_id == bindparam("artist_id"))
)
COUNT = Statement(
    select(func.count())
    .select_from(UPLOADS)
    .where(
        UPLOADS.c.artist_id == bindparam("artist_id"),
        text("master_uploads.status IN ('pending', 'verifying')"),
        or_(IS_VERIFYING, UPLOADS.c.expires_at > bindparam("now")),
    )
)
INSERT = Statement(
    insert(UPLOADS).values(
        parameters("id", "master_id", "artist_id", "kind", "size", "sha256", "content_type", "expires_at", "created_at")
        | {"status": "pending"}
    )
)
GET = Statement(select(*COLUMNS).where(BELONGS))
COMPLETE = Statement(
    update(UPLOADS)
    .where(BELONGS, UPLOADS.c.status == "pending", UPLOADS.c.expires_at > bindparam("not_before"))
    .values(status="verifying")
    .returning(*COLUMNS)
)
GET_TO_VERIFY = Statement(
    select(*[UPLOADS.c[name] for name in UploadToVerify.__dataclass_fields__]).where(
        UPLOADS.c.id == bindparam("upload_id")
    )
)
FAIL = Statement(
    update(UPLOADS)
    .where(UPLOADS.c.id == bindparam("upload_id"))
    .values(status="failed", failure=bindparam("new_failure"))
)
# The master's row first: it serializes the uploads of a master, and its changes (docs/style.md, lock order).
LOCK_MASTER = Statement(
    select(MASTERS.c.id)
    .where(
        MASTERS.c.id == bindparam("master_id"),
        MASTERS.c.suspended_at.is_(None),
        text("masters.status IN ('draft', 'submitted', 'rejected', 'approved')"),
    )
    .with_for_update(key_share=True)
)
REPLACE = Statement(
    update(UPLOADS)
    .where(
        UPLOADS.c.master_id == bindparam("of_master"),
        UPLOADS.c.kind == bindparam("of_kind"),
        UPLOADS.c.status == "verified",
    )
    .values(status="replaced")
)
LOCK_UPLOAD = Statement(select(UPLOADS.c.status).where(UPLOADS.c.id == bindparam("upload_id")).with_for_update())
VERIFIED = Statement(update(UPLOADS).where(UPLOADS.c.id == bindparam("upload_id")).values(status="verified"))
CHANGED = {"status": "draft", "rejection_reason": null(), "version": MASTERS.c.version + 1}
SET_COVER = Statement(
    update(MASTERS)
    .where(MASTERS.c.id == bindparam("master_id"))
    .values(CHANGED | {"cover_sha256": bindparam("sha256")})
)
# The same audio again leaves the confirmation of rights valid.
SET_AUDIO = Statement(
    update(MASTERS)
    .where(MASTERS.c.id == bindparam("master_id"))
    .values(
        CHANGED
        | {
            "audio_sha256": bindparam("sha256"),
            "duration_seconds": bindparam("seconds"),
            "rights_confirmed_at": case(
                (MASTERS.c.audio_sha256 == bindparam("sha256"), MASTERS.c.rights_confirmed_at), else_=null()
            ),
        }
    )
)


@dataclass(frozen=True, kw_only=True)
class NewUpload:
    id: UUID
    url: str
    headers: dict[str, str]
    expires_at: datetime


def incoming(upload_id: UUID) -> str:
    """Return the name under which a client sends a file."""
    return f"incoming/{upload_id}"


def stored(sha256: bytes) -> str:
    """Return the name of a verified file."""
    return f"sha256/{sha256.hex()}"


async def begin(
    database: Database, files: FileStore, *, artist_id: UUID, master_id: UUID, body: UploadRequest, now: datetime
) -> NewUpload:
    """Return the URL to which the client sends exactly what it announces.

    Raises:
        Problem: 404, or 409.
    """
    upload_id, sha256, expires_at = uuid7(), bytes.fromhex(body.sha256), now + URL_LIFETIME
    async with database.transaction() as tx:
        await lock_user(tx, artist_id)
        master = await service.lock_own(tx, artist_id=artist_id, master_id=master_id)
        if master.status not in service.OPEN_STATUSES:
            raise problems.frozen([body.kind])
        if await tx.fetch_value(COUNT, artist_id=artist_id, now=now) >= MAX_AT_ONCE:
            raise problems.too_many_uploads(MAX_AT_ONCE)
        await tx.execute(
            INSERT,
            id=upload_id,
            master_id=master_id,
            artist_id=artist_id,
            kind=body.kind,
            size=body.size,
            sha256=sha256,
            content_type=body.content_type,
            expires_at=expires_at,
            created_at=now,
        )
    target = files.sign_upload(
        incoming(upload_id), size=body.size, sha256=sha256, content_type=body.content_type, lifetime=URL_LIFETIME
    )
    return NewUpload(id=upload_id, url=target.url, headers=dict(target.headers), expires_at=expires_at)


async def complete(
    database: Database, jobs: JobQueue, *, artist_id: UUID, master_id: UUID, upload_id: UUID, now: datetime
) -> UploadRow:
    """Queue the verification of a file that was sent; return the upload. Repeating it changes nothing.

    Raises:
        Problem: 404, or 409.
    """
    upload = {"upload_id": upload_id, "master_id": master_id, "artist_id": artist_id}
    async with database.transaction() as tx:
        row = await tx.fetch_one(COMPLETE, UploadRow, not_before=now - COMPLETE_WITHIN, **upload)
        if row is not None:
            await jobs.enqueue(tx, VERIFY_UPLOAD, upload_id.bytes)
            return row
    row = await read(database, **upload)
    if row.status == "pending":
        raise problems.upload_expired()
    return row


async def read(database: Database, *, artist_id: UUID, master_id: UUID, upload_id: UUID) -> UploadRow:
    """Return an upload of the account.

    Raises:
        Problem: 404.
    """
    row = await database.fetch_one(GET, UploadRow, upload_id=upload_id, master_id=master_id, artist_id=artist_id)
    if row is None:
        raise http_problems.not_found()
    return row


async def verify(database: Database, files: FileStore, upload_id: UUID, *, make_file: MakeFile) -> None:
    """Verify a file, copy it, and make it the master's. Running it again, after a crash at any point, is safe.

    Raises:
        FileStoreError: the storage can't be reached; another attempt may succeed.
    """
    upload = await database.fetch_one(GET_TO_VERIFY, UploadToVerify, upload_id=upload_id)
    if upload is None:
        return
    if upload.status == "verifying":
        failure = await _verify_and_apply(database, files, upload, make_file)
        if failure is not None:
            async with database.transaction() as tx:
                if await _is_verifying(tx, upload_id):
                    await tx.execute(FAIL, upload_id=upload_id, new_failure=failure)
    await files.delete(incoming(upload_id))


async def _verify_and_apply(
    database: Database, files: FileStore, upload: UploadToVerify, make_file: MakeFile
) -> UploadFailure | None:
    try:
        with make_file() as file:
            etag = await download(files, incoming(upload.id), file, size=upload.size, sha256=upload.sha256)
            seconds = await asyncio.to_thread(_inspect, upload, file)
        await files.copy(incoming(upload.id), stored(upload.sha256), etag=etag)
    except MediaError as error:
        return error.failure
    except MissingFileError:
        return "upload.unreadable"
    except TooLongError:
        return "upload.too_large"
    except (HashMismatchError, ChangedFileError):
        return "upload.hash_mismatch"
    async with database.transaction() as tx:
        return await _apply(tx, upload, seconds)


def _inspect(upload: UploadToVerify, file: BinaryIO) -> int | None:
    if upload.kind == "audio":
        return inspect_audio(file, upload.content_type)
    inspect_cover(file, upload.content_type)
    return None


async def _apply(tx: Transaction, upload: UploadToVerify, seconds: int | None) -> UploadFailure | None:
    """Make the file the master's; return why not, where the master can't be changed any more."""
    if await tx.fetch_value(LOCK_MASTER, master_id=upload.master_id) is None:
        return "master.frozen"
    if not await _is_verifying(tx, upload.id):
        return None  # another run of this job was first, or the upload was deleted
    await tx.execute(REPLACE, of_master=upload.master_id, of_kind=upload.kind)
    await tx.execute(VERIFIED, upload_id=upload.id)
    if seconds is None:
        await tx.execute(SET_COVER, master_id=upload.master_id, sha256=upload.sha256)
    else:
        await tx.execute(SET_AUDIO, master_id=upload.master_id, sha256=upload.sha256, seconds=seconds)
    return None


async def _is_verifying(tx: Transaction, upload_id: UUID) -> bool:
    """Lock the upload, and return whether no other run of the job has ended."""
    return bool(await tx.fetch_value(LOCK_UPLOAD, upload_id=upload_id) == "verifying")
