"""Scheduled jobs of distributions: they are shared out at their record time."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from audifi.core.jobs.queue import Schedule
from audifi.dividends import distributions, measures, resale_royalties
from audifi.dividends.queries import OLDEST_DUE, UNCLAIMED, CurrencyTotal

if TYPE_CHECKING:
    from audifi.services import Services

EVERY_10_SECONDS = "* * * * * */10"
EVERY_5_MINUTES = "*/5 * * * *"
DAILY = "20 3 * * *"


def schedules(services: "Services") -> Sequence[Schedule]:
    """Return what runs at certain times."""
    database, clock = services.background_database, services.clock

    async def post() -> None:
        await distributions.post_due(database, now=clock())

    async def declare_royalties() -> None:
        notice = services.settings.declare_notice
        await resale_royalties.declare_waiting(database, notice=notice, now=clock())

    async def measure() -> None:
        for row in await database.fetch_all(UNCLAIMED, CurrencyTotal):
            services.metrics.set(measures.UNCLAIMED, row.amount, row.currency)
        due_at = await database.fetch_value(OLDEST_DUE, now=clock())
        delay = (clock() - due_at).total_seconds() if due_at else 0
        services.metrics.set(measures.DISTRIBUTION_DELAY, delay)

    for currency in services.settings.currencies:
        services.metrics.set(measures.UNCLAIMED, 0, currency)
    return [
        Schedule(name="distributions", cron=EVERY_10_SECONDS, run=post),
        Schedule(name="resale_royalties", cron=DAILY, run=declare_royalties),
        Schedule(name="dividend_metrics", cron=EVERY_5_MINUTES, run=measure),
    ]
