"""Scheduled jobs of offerings: ends, refunds, expiries and releases."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import BigInteger, bindparam, func, select

from audifi.core.db.database import Database
from audifi.core.db.statements import Statement
from audifi.core.jobs.queue import JobType, Schedule
from audifi.ipos import closing, measures, purchases
from audifi.ipos.models import Ipo, IpoStatus

if TYPE_CHECKING:
    from audifi.services import Services

REFUND = "ipo_refund"
EVERY_30_SECONDS = "* * * * * */30"


_ipos = Ipo.__table__
RUNNING: tuple[IpoStatus, ...] = ("live", "paused", "canceling")
COUNT_RUNNING = Statement(
    select(
        _ipos.c.status,
        func.count().label("count"),
        func.sum(_ipos.c.sold - _ipos.c.returned).cast(BigInteger).label("sold"),
        func.sum(_ipos.c.offered).cast(BigInteger).label("offered"),
    )
    .where(_ipos.c.status.in_([bindparam(None, status) for status in RUNNING]))
    .group_by(_ipos.c.status)
)


@dataclass(frozen=True, slots=True)
class RunningRow:
    """The offerings of a status, added up."""

    status: IpoStatus
    count: int
    sold: int
    offered: int


async def running_ipos(database: Database) -> dict[IpoStatus, tuple[int, float]]:
    """Return how many offerings have each status before their end, and which part of their shares is sold."""
    rows = await database.fetch_all(COUNT_RUNNING, RunningRow)
    return dict.fromkeys(RUNNING, (0, 0.0)) | {row.status: (row.count, row.sold / row.offered) for row in rows}


def job_types(services: "Services") -> Sequence[JobType]:
    """Return the feature's jobs."""

    async def refund(payload: bytes) -> None:
        await closing.refund(services.background_database, ipo_id=UUID(bytes=payload), now=services.clock())

    return [JobType(name=REFUND, handler=refund, attempts=10)]


def schedules(services: "Services") -> Sequence[Schedule]:
    """Return what runs every half a minute."""

    database, clock = services.background_database, services.clock

    async def expire() -> None:
        await purchases.expire_reservations(database, now=clock())

    async def close() -> None:
        await closing.close_due(database, proceeds_delay=services.settings.proceeds_delay, now=clock())
        for status, (count, sold_ratio) in (await running_ipos(database)).items():
            services.metrics.set(measures.RUNNING, count, status)
            services.metrics.set(measures.SOLD_RATIO, sold_ratio, status)

    async def release() -> None:
        await closing.release_due(database, now=clock())

    return [
        Schedule(name="ipo_reservation_expiry", cron=EVERY_30_SECONDS, run=expire),
        Schedule(name="ipo_close", cron=EVERY_30_SECONDS, run=close),
        Schedule(name="ipo_proceeds_release", cron=EVERY_30_SECONDS, run=release),
    ]
