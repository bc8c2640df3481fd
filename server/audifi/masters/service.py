"""Create and change a master's metadata and rights. `states` has its other changes of state."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
from sqlalchemy import bindparam, case, delete, func, insert, null, select, update
from uuid6 import uuid7

from audifi.auth.service import lock_user
from audifi.core.db.database import Database, Transaction
from audifi.core.db.statements import Statement, parameters
from audifi.core.http import problems as http_problems
from audifi.core.http.conditional import precondition_failed
from audifi.core.http.problems import FieldError
from audifi.masters import problems, rights
from audifi.masters.models import Master, MasterCollaborator, MasterTrack, RightsConfirmation, RightsHolder
from audifi.masters.queries import GET_OWN, LOCK_OWN, FullMasterRow
from audifi.masters.schemas import Collaborator, MasterCreate, MasterUpdate, Track
from audifi.subscriptions import entitlements

MAX_MASTERS = 1000
OPEN_STATUSES = ("draft", "submitted", "rejected", "approved")
"""In which the artist can change everything."""
ALWAYS_CHANGEABLE = {"description", "genre", "mood_tags"}
"""What can change of an offered master."""
CONFIRMED = {"title", "tracks", "collaborators"}
"""What the confirmation of rights refers to; the audio is the other."""

MASTERS = Master.__table__
TRACKS = MasterTrack.__table__
COLLABORATORS = MasterCollaborator.__table__
CONFIRMATIONS = RightsConfirmation.__table__
FIELDS = ("title", "description", "genre", "bpm", "release_date", "mood_tags", "upc")

COUNT = Statement(select(func.count()).select_from(MASTERS).where(MASTERS.c.artist_id == bindparam("artist_id")))
INSERT = Statement(
    insert(MASTERS).values(
        parameters("id", "artist_id", "type", *FIELDS, "created_at") | {"status": "draft", "version": 1}
    )
)
# The transaction has locked the row and decided by what it read.
UPDATE = Statement(
    update(MASTERS)
    .where(MASTERS.c.id == bindparam("master_id"))
    .values(
        {name: bindparam(f"new_{name}") for name in FIELDS}
        | {
            "status": bindparam("new_status"),
            "rejection_reason": null(),
            "rights_confirmed_at": bindparam("new_rights_confirmed_at"),
            "version": MASTERS.c.version + 1,
        }
    )
)
DELETE_TRACKS = Statement(delete(TRACKS).where(TRACKS.c.master_id == bindparam("master_id")))
INSERT_TRACK = Statement(insert(TRACKS).values(parameters("master_id", "position", "title", "isrc", "iswc")))
DELETE_COLLABORATORS = Statement(delete(COLLABORATORS).where(COLLABORATORS.c.master_id == bindparam("master_id")))
INSERT_COLLABORATOR = Statement(
    insert(COLLABORATORS).values(parameters("master_id", "position", "user_id", "name", "role", "split_bps"))
)
CONFIRM_RIGHTS = Statement(
    update(MASTERS)
    .where(MASTERS.c.id == bindparam("master_id"))
    .values(
        rights_confirmed_at=bindparam("now"),
        status=case((MASTERS.c.status == "rejected", "draft"), else_=MASTERS.c.status),
        rejection_reason=null(),
        version=MASTERS.c.version + 1,
    )
)
INSERT_CONFIRMATION = Statement(insert(CONFIRMATIONS))


async def create(tx: Transaction, *, artist_id: UUID, body: MasterCreate, now: datetime) -> FullMasterRow:
    """Register a master as a draft; return it.

    Raises:
        Problem: 401 if the account is being deleted, 403 if its plan allows no more, 409 if it has too many masters,
            422 for an unknown collaborator.
    """
    await lock_user(tx, artist_id)
    if await tx.fetch_value(COUNT, artist_id=artist_id) >= MAX_MASTERS:
        raise problems.limit_reached(MAX_MASTERS)
    master_id = uuid7()
    await entitlements.use(tx, user_id=artist_id, key="masters", ref=master_id, now=now)
    values = {name: getattr(body, name) for name in FIELDS}
    await tx.execute(INSERT, id=master_id, artist_id=artist_id, type=body.type, created_at=now, **values)
    await _insert_tracks(tx, master_id, body.tracks)
    await _insert_collaborators(tx, master_id, body.collaborators)
    return await read_own(tx, artist_id=artist_id, master_id=master_id)


async def change(
    database: Database, *, artist_id: UUID, master_id: UUID, body: MasterUpdate, expected_version: int
) -> FullMasterRow:
    """Change the version that the client has read; return the new one.

    A master that was submitted, rejected or approved becomes a draft: what a review has seen is what is offered.

    Raises:
        Problem: 404, 409, 412, or 422.
    """
    async with database.transaction() as tx:
        if body.collaborators:  # foreign keys lock their accounts, which may be the artist's: accounts before masters
            await lock_user(tx, artist_id)
        master = await lock_own(tx, artist_id=artist_id, master_id=master_id)
        if master.version != expected_version:
            raise precondition_failed()
        changes = {name for name in body.model_fields_set if getattr(body, name) != getattr(master, name)}
        if not changes:
            return master
        frozen = changes if master.status == "archived" else changes - ALWAYS_CHANGEABLE
        if master.status not in OPEN_STATUSES and frozen:
            raise problems.frozen(sorted(frozen))
        if master.type == "track" and len(body.tracks) > 1:
            error = FieldError(code="too_long", detail="A master of type track has one recording", pointer="/tracks")
            raise http_problems.invalid([error])
        values = {name: getattr(body if name in changes else master, name) for name in FIELDS}
        await tx.execute(
            UPDATE,
            master_id=master_id,
            **{f"new_{name}": value for name, value in values.items()},
            new_status="draft" if master.status in OPEN_STATUSES else master.status,
            new_rights_confirmed_at=None if changes & CONFIRMED else master.rights_confirmed_at,
        )
        if "tracks" in changes:
            await tx.execute(DELETE_TRACKS, master_id=master_id)
            await _insert_tracks(tx, master_id, body.tracks)
        if "collaborators" in changes:
            await tx.execute(DELETE_COLLABORATORS, master_id=master_id)
            await _insert_collaborators(tx, master_id, body.collaborators)
        return await read_own(tx, artist_id=artist_id, master_id=master_id)


async def confirm_rights(
    database: Database,
    *,
    artist_id: UUID,
    master_id: UUID,
    statement_version: str,
    holder: RightsHolder,
    ip_prefix: str | None,
    now: datetime,
) -> FullMasterRow:
    """Record that the artist confirms to hold the rights; return the master. A valid confirmation stays as it is.

    Raises:
        Problem: 404, or 409.
    """
    if statement_version != rights.VERSION:
        raise problems.statement_outdated()
    async with database.transaction() as tx:
        master = await lock_own(tx, artist_id=artist_id, master_id=master_id)
        if master.status not in OPEN_STATUSES:
            raise problems.frozen([])
        if master.rights_confirmed_at is not None and master.status != "rejected":
            return master
        await tx.execute(
            INSERT_CONFIRMATION,
            master_id=master_id,
            id=uuid7(),
            user_id=artist_id,
            statement_version=statement_version,
            statement_sha256=rights.SHA256,
            holder=holder,
            ip_prefix=ip_prefix,
            created_at=now,
        )
        await tx.execute(CONFIRM_RIGHTS, master_id=master_id, now=now)
        return await read_own(tx, artist_id=artist_id, master_id=master_id)


async def lock_own(tx: Transaction, *, artist_id: UUID, master_id: UUID) -> FullMasterRow:
    """Lock a master for a change by its artist, and return it.

    Raises:
        Problem: 404, or 409 if it is suspended.
    """
    master = await tx.fetch_one(LOCK_OWN, FullMasterRow, master_id=master_id, artist_id=artist_id)
    if master is None:
        raise http_problems.not_found()
    if master.suspended_at is not None:
        raise problems.suspended()
    return master


async def read_own(tx: Transaction, *, artist_id: UUID, master_id: UUID) -> FullMasterRow:
    """Return a master that the transaction has written."""
    return await tx.fetch_row(GET_OWN, FullMasterRow, master_id=master_id, artist_id=artist_id)


async def _insert_tracks(tx: Transaction, master_id: UUID, tracks: Sequence[Track]) -> None:
    await tx.execute_many(INSERT_TRACK, _numbered(master_id, tracks))


async def _insert_collaborators(tx: Transaction, master_id: UUID, collaborators: Sequence[Collaborator]) -> None:
    try:
        await tx.execute_many(INSERT_COLLABORATOR, _numbered(master_id, collaborators))
    except asyncpg.ForeignKeyViolationError:
        error = FieldError(code="unknown", detail="A user_id is not an account's", pointer="/collaborators")
        raise http_problems.invalid([error]) from None


def _numbered(master_id: UUID, items: Sequence[Track] | Sequence[Collaborator]) -> list[dict[str, Any]]:
    return [item.model_dump() | {"master_id": master_id, "position": place} for place, item in enumerate(items, 1)]
