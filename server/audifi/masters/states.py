"""How a master's state changes. Each change is one conditional update; if it matches no row, the row says why."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg
from sqlalchemy import (
    ColumnElement,
    Update,
    bindparam,
    exists,
    insert,
    null,
    select,
    text,
    update,
)
from sqlalchemy.orm import aliased
from uuid6 import uuid7

from audifi.core.db.database import Transaction
from audifi.core.db.statements import Statement
from audifi.core.http import problems as http_problems
from audifi.core.http.conditional import precondition_failed
from audifi.core.http.problems import Problem
from audifi.masters import problems
from audifi.masters.models import EventName, Master, MasterEvent, MasterTrack
from audifi.masters.queries import GET, FullMasterRow
from audifi.subscriptions import entitlements

MASTERS = Master.__table__
TRACKS = MasterTrack.__table__
NOT_SUSPENDED = MASTERS.c.suspended_at.is_(None)
IS_OWN = MASTERS.c.artist_id == bindparam("artist")
HAS_TRACKS = exists().where(TRACKS.c.master_id == MASTERS.c.id)


@dataclass(frozen=True, kw_only=True)
class Actor:
    """The account or the operator that changes a master's state; the system has neither."""

    user_id: UUID | None = None
    name: str | None = None


SYSTEM = Actor()


def _transition(*conditions: ColumnElement[bool], **values: object) -> Statement:
    change: Update = update(MASTERS).where(MASTERS.c.id == bindparam("master_id"), *conditions)
    return Statement(change.values(**values, version=MASTERS.c.version + 1))


SUBMIT = _transition(
    IS_OWN,
    NOT_SUSPENDED,
    MASTERS.c.status == "draft",
    MASTERS.c.rights_confirmed_at.is_not(None),
    MASTERS.c.audio_sha256.is_not(None),
    MASTERS.c.cover_sha256.is_not(None),
    HAS_TRACKS,
    status=bindparam("new_status"),
)
REVIEW = _transition(
    NOT_SUSPENDED,
    MASTERS.c.status == "submitted",
    MASTERS.c.version == bindparam("expected_version"),
    status=bindparam("new_status"),
    rejection_reason=bindparam("reason"),
)
OFFER = _transition(NOT_SUSPENDED, MASTERS.c.status == "approved", status="offered")
ARCHIVE = _transition(
    IS_OWN,
    NOT_SUSPENDED,
    text("masters.status IN ('draft', 'submitted', 'rejected', 'approved')"),  # type: ignore[arg-type] # it is a condition
    status="archived",
    rejection_reason=null(),
)
SUSPEND = _transition(NOT_SUSPENDED, suspended_at=bindparam("now"))
RESTORE = _transition(MASTERS.c.suspended_at.is_not(None), suspended_at=null())
END_OFFER = _transition(MASTERS.c.status == "offered", status="approved")
MARK_TRACKS = Statement(
    update(TRACKS).where(TRACKS.c.master_id == bindparam("master_id")).values(offered=bindparam("are_offered"))
)
OTHERS = aliased(MasterTrack)
OFFERED_ELSEWHERE = Statement(
    select(OTHERS.master_id)
    .join_from(MasterTrack, OTHERS, OTHERS.isrc == MasterTrack.isrc)
    .where(MasterTrack.master_id == bindparam("master_id"), OTHERS.offered)
    .limit(1)
)
RECORD = Statement(insert(MasterEvent.__table__))


async def submit(
    tx: Transaction, *, artist_id: UUID, master_id: UUID, is_reviewed: bool, now: datetime
) -> FullMasterRow:
    """Submit a draft for review; approve it at once if masters aren't reviewed.

    Raises:
        Problem: 404, or 409.
    """
    status = "submitted" if is_reviewed else "approved"
    if not await tx.execute(SUBMIT, master_id=master_id, artist=artist_id, new_status=status):
        raise _why_not_submitted(await _read(tx, master_id, artist_id))
    if await tx.fetch_value(OFFERED_ELSEWHERE, master_id=master_id) is not None:
        raise problems.isrc_already_offered()
    await _record(tx, "submitted", master_id, Actor(user_id=artist_id), now)
    if not is_reviewed:
        await _record(tx, "approved", master_id, SYSTEM, now, "masters aren't reviewed (MASTER_REVIEW)")
    return await _read(tx, master_id)


async def review(
    tx: Transaction, *, master_id: UUID, reason: str | None, expected_version: int, by: Actor, now: datetime
) -> FullMasterRow:
    """Approve the version of a submitted master that was read; with a reason, reject it.

    Raises:
        Problem: 404, 409, or 412.
    """
    status: EventName = "approved" if reason is None else "rejected"
    changed = await tx.execute(
        REVIEW, master_id=master_id, new_status=status, reason=reason, expected_version=expected_version
    )
    master = await _read(tx, master_id)
    if not changed:
        if master.suspended_at is not None:
            raise problems.suspended()
        raise problems.not_submitted() if master.status != "submitted" else precondition_failed()
    await _record(tx, status, master_id, by, now, reason)
    return master


async def offer(tx: Transaction, *, master_id: UUID, now: datetime) -> None:
    """Mark an approved master as offered, in the transaction that launches its offering.

    From then on its metadata is frozen, and no other master with one of its ISRCs can be offered.

    Raises:
        Problem: 404, or 409.
    """
    if not await tx.execute(OFFER, master_id=master_id):
        master = await _read(tx, master_id)
        raise problems.suspended() if master.suspended_at is not None else problems.not_approved()
    try:
        await tx.execute(MARK_TRACKS, master_id=master_id, are_offered=True)
    except asyncpg.UniqueViolationError:  # uq_master_tracks_isrc: the statement changes no other key
        raise problems.isrc_already_offered() from None
    await _record(tx, "offered", master_id, SYSTEM, now)


async def end_offer(tx: Transaction, *, master_id: UUID, now: datetime) -> None:
    """Return an offered master to approved, in the transaction that ends its offering without any share sold.

    Its metadata can be changed again, and its recordings may be in another offered master.
    """
    await tx.execute(END_OFFER, master_id=master_id)
    await tx.execute(MARK_TRACKS, master_id=master_id, are_offered=False)
    await _record(tx, "offer_ended", master_id, SYSTEM, now)


async def archive(tx: Transaction, *, artist_id: UUID, master_id: UUID, now: datetime) -> FullMasterRow:
    """Archive a master that isn't offered, and release its use of the plan's limit. Repeating it changes nothing.

    Raises:
        Problem: 404, or 409.
    """
    changed = await tx.execute(ARCHIVE, master_id=master_id, artist=artist_id)
    master = await _read(tx, master_id, artist_id)
    if changed:
        await _record(tx, "archived", master_id, Actor(user_id=artist_id), now)
        await entitlements.release(tx, user_id=artist_id, key="masters", ref=master_id, now=now)
    elif master.suspended_at is not None:
        raise problems.suspended()
    elif master.status == "offered":
        raise problems.offered()
    return master


async def suspend(tx: Transaction, *, master_id: UUID, reason: str, by: Actor, now: datetime) -> bool:
    """Suspend a master in any state; return False if it was suspended already.

    Raises:
        Problem: 404.
    """
    changed = bool(await tx.execute(SUSPEND, master_id=master_id, now=now))
    await _read(tx, master_id)
    if changed:
        await _record(tx, "suspended", master_id, by, now, reason)
    return changed


async def restore(tx: Transaction, *, master_id: UUID, by: Actor, now: datetime) -> bool:
    """Return a suspended master to the state that it had; return False if it isn't suspended.

    Raises:
        Problem: 404.
    """
    changed = bool(await tx.execute(RESTORE, master_id=master_id))
    await _read(tx, master_id)
    if changed:
        await _record(tx, "restored", master_id, by, now)
    return changed


def _why_not_submitted(master: FullMasterRow) -> Problem:
    if master.suspended_at is not None:
        return problems.suspended()
    if master.status != "draft":
        return problems.not_draft()
    present = {
        "rights": master.rights_confirmed_at,
        "audio": master.audio_sha256,
        "cover": master.cover_sha256,
        "tracks": master.tracks,
    }
    return problems.incomplete([name for name, value in present.items() if not value])


async def _read(tx: Transaction, master_id: UUID, artist_id: UUID | None = None) -> FullMasterRow:
    """Return a master, of an artist if one is named.

    Raises:
        Problem: 404.
    """
    master = await tx.fetch_one(GET, FullMasterRow, master_id=master_id)
    if master is None or artist_id not in {None, master.artist_id}:
        raise http_problems.not_found()
    return master


async def _record(
    tx: Transaction, event: EventName, master_id: UUID, by: Actor, now: datetime, detail: str | None = None
) -> None:
    await tx.execute(
        RECORD,
        master_id=master_id,
        id=uuid7(),
        event=event,
        user_id=by.user_id,
        actor=by.name and by.name[:100],
        detail=detail,
        created_at=now,
    )
