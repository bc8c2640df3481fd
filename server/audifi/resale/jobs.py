"""Scheduled jobs of listings: they expire."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from audifi.core.jobs.queue import Schedule
from audifi.resale import service

if TYPE_CHECKING:
    from audifi.services import Services


def schedules(services: "Services") -> Sequence[Schedule]:
    """Return what runs every half a minute."""

    async def expire() -> None:
        await service.expire(services.background_database, now=services.clock())

    return [Schedule(name="listing_expiry", cron="* * * * * */30", run=expire)]
