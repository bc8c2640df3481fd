"""Background jobs of masters, and the deletion of what is left of uploads."""

import asyncio
import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import bindparam, delete, exists, select, text
from sqlalchemy.orm import aliased

from audifi.core.db.database import Database
from audifi.core.db.statements import Statement
from audifi.core.files.download import temporary_file
from audifi.core.files.store import FileStore, FileStoreError
from audifi.core.jobs.queue import JobType
from audifi.masters.models import MasterUpload
from audifi.masters.uploads import VERIFY_UPLOAD, incoming, stored, verify

if TYPE_CHECKING:
    from audifi.services import Services

logger = logging.getLogger(__name__)

ATTEMPTS = 12
"""They take 7 minutes."""
AT_ONCE = 2
"""Files that a machine verifies at the same time: each is a copy on its disk."""
KEPT = timedelta(hours=24)
BATCH = 200

UPLOADS = MasterUpload.__table__
OTHER = aliased(MasterUpload, name="other")


@dataclass(frozen=True, slots=True)
class OldUpload:
    id: UUID
    sha256: bytes
    is_used: bool
    """Whether a master has the same content, or may get it by an upload under way."""


OLD = Statement(
    select(
        MasterUpload.id,
        MasterUpload.sha256,
        exists()
        .where(
            OTHER.sha256 == MasterUpload.sha256,
            OTHER.id != MasterUpload.id,
            text("other.status IN ('pending', 'verifying', 'verified')"),
        )
        .label("is_used"),
    )
    .where(MasterUpload.status != "verified", MasterUpload.created_at < bindparam("before"))
    .order_by(MasterUpload.created_at)
    .limit(BATCH)
)
DELETE = Statement(delete(UPLOADS).where(UPLOADS.c.id == bindparam("upload_id"), UPLOADS.c.status != "verified"))


def job_types(services: "Services") -> list[JobType]:
    """Return the jobs of masters."""
    semaphore = asyncio.Semaphore(AT_ONCE)

    async def verify_upload(payload: bytes) -> None:
        async with semaphore:
            await verify(services.background_database, services.files, UUID(bytes=payload), make_file=temporary_file)

    return [JobType(name=VERIFY_UPLOAD, handler=verify_upload, attempts=ATTEMPTS)]


async def clean_up(services: "Services") -> None:
    """Delete uploads that were abandoned, failed or replaced, a day after they began, with their files."""
    try:
        await delete_uploads(services.background_database, services.files, before=services.clock() - KEPT)
    except FileStoreError as error:
        logger.warning("uploads are kept until the next run: error=%s", error)


async def delete_uploads(database: Database, files: FileStore, *, before: datetime) -> int:
    """Delete the oldest uploads that began before, with files that no master needs; return how many.

    Raises:
        FileStoreError: the storage can't be reached.
    """
    uploads = await database.fetch_all(OLD, OldUpload, before=before)
    for upload in uploads:
        await files.delete(incoming(upload.id))
        if not upload.is_used:
            await files.delete(stored(upload.sha256))
        await database.execute(DELETE, upload_id=upload.id)
    if uploads:
        logger.info("uploads deleted: count=%d", len(uploads))
    return len(uploads)
