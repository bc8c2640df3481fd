"""Write the notices of new domain events, and delete those of an account."""

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import bindparam, delete

from audifi.core.db.database import Database, Transaction
from audifi.core.db.retention import ExpiredRows
from audifi.core.db.statements import Statement
from audifi.core.domain_events import service as domain_events
from audifi.core.domain_events.service import EventRow
from audifi.core.jobs.queue import JobQueue
from audifi.notices.models import Notice
from audifi.notices.sources import SOURCES

READER = "notices"
"""Of domain events."""
JOB = "notice_email"
AFTER_OTHERS = -1
"""The priority of the e-mails: a link to sign in goes before a thousand refunds."""
NEWS = timedelta(days=1)
"""What is older is no news, as after an outage or in the data of the demo."""
KEPT = timedelta(days=90)

_table = Notice.__table__
DELETE_OWNED = Statement(delete(_table).where(_table.c.user_id == bindparam("user_id")))


@dataclass(frozen=True, slots=True)
class IdRow:
    """A notice that was written."""

    id: UUID


async def write_new(database: Database, jobs: JobQueue, *, now: datetime) -> int:
    """Write the notices of the next events, and queue their e-mails. Return how many events there were.

    The position of the reader moves in the same transaction, so each event has its notices once.
    """
    async with database.transaction() as transaction:
        position = await domain_events.lock_position(transaction, READER)
        events = await domain_events.read(transaction, after=position)
        for kind, ids in _subjects(events, now).items():
            source = SOURCES[kind]
            values = {"kind": source.kind} if source.kind else {}
            notices = await transaction.fetch_all(source.insert, IdRow, ids=ids, now=now, **values)
            await jobs.enqueue(transaction, JOB, *[notice.id.bytes for notice in notices], priority=AFTER_OTHERS)
        if events:
            await domain_events.set_position(transaction, READER, events[-1].position)
    return len(events)


def _subjects(events: Iterable[EventRow], now: datetime) -> dict[str, list[UUID]]:
    """Return the ids that each kind of event with a source is about."""
    subjects = defaultdict[str, list[UUID]](list)
    for event in events:
        source = SOURCES.get(event.kind)
        if source and event.at > now - NEWS:
            id_ = UUID(json.loads(event.payload)[source.subject]) if source.subject else event.subject_id
            subjects[event.kind].append(id_)
    return subjects


async def delete_notices(transaction: Transaction, user_id: UUID) -> None:
    """Delete the notices of an account that is being deleted."""
    await transaction.execute(DELETE_OWNED, user_id=user_id)


def expired(now: datetime) -> ExpiredRows:
    return ExpiredRows(table=_table, by=_table.c.created_at, before=now - KEPT)
