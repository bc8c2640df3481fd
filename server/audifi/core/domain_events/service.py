"""Record domain events, and read them without losing one.

In Python, `await domain_events.record(tx, "dividend.claimed", subject_id=claim_id, payload={…}, now=now)`. In an SQL
function, which saves the round trip:

    INSERT INTO domain_events (kind, subject_id, payload, at)
        VALUES ('dividend.claimed', claim_id, jsonb_build_object('amount', paid), at);

`share.minted`, `share.moved` and the events of offerings come from triggers on `share_movements` and `ipo_events`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Text, bindparam, case, func, insert, select, tuple_, update

from audifi.core.db.database import Database, Transaction
from audifi.core.db.retention import ExpiredRows
from audifi.core.db.statements import Statement, parameters
from audifi.core.domain_events.models import DomainEvent, DomainEventReader

KEPT_FOR = timedelta(days=30)
"""Longer than any outage of a reader that its operators would leave as it is. A reader that was away for longer starts
anew from the tables that the events come from, which are kept."""
MAX_EVENTS = 1000

_events = DomainEvent.__table__
_finished = func.pg_snapshot_xmin(func.pg_current_snapshot()).cast(Text).cast(BigInteger)
RECORD = Statement(
    insert(_events).values(
        parameters("kind", "subject_id", "at")
        | {"payload": bindparam("payload", type_=Text).cast(_events.c.payload.type)}
    )
)
READ = Statement(
    select(
        _events.c.xid,
        _events.c.id,
        _events.c.kind,
        _events.c.subject_id,
        _events.c.payload.cast(Text).label("payload"),
        _events.c.at,
    )
    .where(
        _events.c.xid < _finished,
        tuple_(_events.c.xid, _events.c.id)
        > tuple_(bindparam("after_xid", type_=BigInteger), bindparam("after_id", type_=BigInteger)),
    )
    .order_by(_events.c.xid, _events.c.id)
    .limit(bindparam("limit"))
)
_readers = DomainEventReader.__table__
_current = func.pg_current_xact_id().cast(Text).cast(BigInteger)
LOCK_POSITION = Statement(
    select(case((_readers.c.xid > _current, 0), else_=_readers.c.xid).label("xid"), _readers.c.id)
    .where(_readers.c.name == bindparam("reader"))
    .with_for_update()
)
"""A dump that was loaded into a new cluster has positions of the old one; the new one counts transactions anew."""
SET_POSITION = Statement(
    update(_readers)
    .where(_readers.c.name == bindparam("reader"))
    .values(xid=bindparam("new_xid"), id=bindparam("new_id"))
)


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """How far a reader has read; it keeps the position of the last event that it has dealt with."""

    xid: int
    id: int


START = Position(0, 0)


@dataclass(frozen=True, slots=True)
class EventRow:
    """An event."""

    xid: int
    id: int
    kind: str
    subject_id: UUID
    payload: str
    """JSON."""
    at: datetime

    @property
    def position(self) -> Position:
        return Position(self.xid, self.id)


async def record(tx: Transaction, kind: str, *, subject_id: UUID, payload: Mapping[str, Any], now: datetime) -> None:
    """Record an event in the transaction of the change that it reports.

    Args:
        tx: the caller's.
        kind: `noun.verb`.
        subject_id: what it happened to.
        payload: at most 4,000 bytes of JSON: ids and numbers, no personal data.
        now: the instant.
    """
    await tx.execute(RECORD, kind=kind, subject_id=subject_id, payload=json.dumps(dict(payload)), at=now)


async def read(database: Database | Transaction, *, after: Position = START, limit: int = 100) -> list[EventRow]:
    """Return the events after a position, at most `limit` or `MAX_EVENTS`.

    Ids aren't in the order of commits: after an event was read, one with a lower id could appear. So only events are
    read whose transactions, and all that began to write before them, have ended; in the order of transactions. None can
    appear before those any more. A transaction that stays open delays the events of later ones; time limits end it.
    """
    return await database.fetch_all(
        READ, EventRow, after_xid=after.xid, after_id=after.id, limit=min(limit, MAX_EVENTS)
    )


async def lock_position(transaction: Transaction, reader: str) -> Position:
    """Return how far a reader of this service has read; until the transaction ends, no other machine reads for it.

    A migration inserts the reader's row.
    """
    return await transaction.fetch_row(LOCK_POSITION, Position, reader=reader)


async def set_position(transaction: Transaction, reader: str, position: Position) -> None:
    await transaction.execute(SET_POSITION, reader=reader, new_xid=position.xid, new_id=position.id)


def expired_events(now: datetime) -> ExpiredRows:
    return ExpiredRows(table=_events, by=_events.c.at, before=now - KEPT_FOR)
