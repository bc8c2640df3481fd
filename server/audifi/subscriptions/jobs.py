"""Jobs of subscriptions, and what is done at certain times."""

from typing import TYPE_CHECKING

from audifi.core.jobs.queue import JobType, Schedule
from audifi.subscriptions import ends, notices
from audifi.subscriptions.measures import LIVE
from audifi.subscriptions.queries import COUNTS, CountRow
from audifi.subscriptions.reconciliation import look_at_live

if TYPE_CHECKING:
    from audifi.services import Services

EVERY_MINUTE = "* * * * *"
EACH_NIGHT = "10 2 * * *"


def jobs(services: "Services") -> list[JobType]:
    return [ends.jobs(services), notices.emails(services)]


def schedules(services: "Services") -> list[Schedule]:
    async def count() -> None:
        rows = await services.background_database.fetch_all(COUNTS, CountRow)
        services.metrics.set_all(LIVE, {(row.plan, row.status): row.count for row in rows})

    async def look() -> None:
        if services.stripe.is_configured:
            await look_at_live(services)

    return [
        Schedule(name="subscription_counts", cron=EVERY_MINUTE, run=count),
        Schedule(name="subscriptions_live", cron=EACH_NIGHT, run=look),
    ]
