"""What happens to offerings by itself: ends, refunds, expiries and releases."""

from collections.abc import Sequence
from typing import TYPE_CHECKING
from uuid import UUID

from audifi.core.jobs.queue import JobType, Schedule
from audifi.ipos import closing, purchases

if TYPE_CHECKING:
    from audifi.services import Services

REFUND = "ipo_refund"
EVERY_30_SECONDS = "* * * * * */30"


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

    async def release() -> None:
        await closing.release_due(database, now=clock())

    return [
        Schedule(name="ipo_reservation_expiry", cron=EVERY_30_SECONDS, run=expire),
        Schedule(name="ipo_close", cron=EVERY_30_SECONDS, run=close),
        Schedule(name="ipo_proceeds_release", cron=EVERY_30_SECONDS, run=release),
    ]
