"""What happens to offerings by itself: ends, refunds, expiries and releases."""

from collections.abc import Sequence
from typing import TYPE_CHECKING
from uuid import UUID

from audifi.core.jobs.queue import JobType, Schedule
from audifi.ipos import closing, purchases

if TYPE_CHECKING:
    from audifi.services import Services

REFUND = "ipo_refund"


def job_types(services: "Services") -> Sequence[JobType]:
    """Return the feature's jobs."""

    async def refund(payload: bytes) -> None:
        await closing.refund(services.background_database, ipo_id=UUID(bytes=payload), now=services.clock())

    return [JobType(name=REFUND, handler=refund, attempts=10)]


def schedules(services: "Services") -> Sequence[Schedule]:
    """Return what runs every half a minute."""

    async def sweep() -> None:
        database, now = services.background_database, services.clock()
        await purchases.expire_reservations(database, now=now)
        await closing.close_due(database, proceeds_delay=services.settings.proceeds_delay, now=now)
        await closing.release_due(database, now=now)

    return [Schedule(name="ipo_sweep", cron="* * * * * */30", run=sweep)]
