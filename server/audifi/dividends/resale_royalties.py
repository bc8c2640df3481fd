"""Royalties of resales that an offering gives to its holders: revenue of which the schedule declares distributions.

`resale_buy_v2` records it, funded by the artist's part of the resale.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

from sqlalchemy import bindparam, select
from sqlalchemy.dialects.postgresql import distinct_on

from audifi.core.db.database import Database, Transaction
from audifi.core.db.statements import Statement
from audifi.core.jobs.each import for_each
from audifi.dividends import distributions, revenue
from audifi.dividends.distributions import IS_WAITING
from audifi.dividends.models import RevenueEvent
from audifi.dividends.revenue import EventRow
from audifi.ipos.models import Ipo
from audifi.masters.models import Master

WAIT = timedelta(days=30)
"""They wait for so long for other revenue, with which they are shared out."""
BATCH = 100

_events, _ipos, _masters = RevenueEvent.__table__, Ipo.__table__, Master.__table__

OLDEST = Statement(
    select(_events.c.id)
    .ext(distinct_on(_events.c.ipo_id, _events.c.currency))
    .join_from(_events, _ipos, _ipos.c.id == _events.c.ipo_id)
    .join(_masters, _masters.c.id == _ipos.c.master_id)
    .where(
        IS_WAITING,
        _events.c.source == "resale_royalty",
        _events.c.created_at <= bindparam("before", type_=_events.c.created_at.type),
        _masters.c.suspended_at.is_(None),
    )
    .order_by(_events.c.ipo_id, _events.c.currency, _events.c.id)
    .limit(BATCH)
)


@dataclass(frozen=True, slots=True)
class _IdRow:
    id: UUID


async def declare_waiting(database: Database, *, notice: timedelta, now: datetime) -> None:
    """Declare the royalties of resales that have waited for a month: holders must not depend on the artist for them."""

    async def declare(row: _IdRow) -> None:
        await database.run(partial(declare_one, event_id=row.id, notice=notice, now=now))

    await for_each(await database.fetch_all(OLDEST, _IdRow, before=now - WAIT), declare)


async def declare_one(tx: Transaction, *, event_id: UUID, notice: timedelta, now: datetime) -> None:
    """Declare the royalties of the event's offering and currency, unless a distribution of the event is declared."""
    event = await tx.fetch_one(revenue.LOCK, EventRow, event_id=event_id)
    if event is not None and event.distribution_id is None:
        record_at = now + notice
        await distributions.declare(tx, event, declared_by=None, record_at=record_at, now=now, only_royalties=True)
