"""Royalties of resales that are the holders': the schedule declares what has waited for a month."""

from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

from audifi.core.db.database import Database
from audifi.dividends import distributions, resale_royalties
from audifi.dividends.models import RevenueSource
from tests.dividends.stages import Stage, run
from tests.ledger.ledgers import NOW
from tests.support.races import order, race

__all__ = ["order"]

DAY = timedelta(days=1)
DECLARED = """
    SELECT gross, holders, declared_by, record_at FROM distributions WHERE ipo_id = $1 AND status = 'declared'
"""


async def fund(stage: Stage, amount: int, source: RevenueSource = "resale_royalty") -> UUID:
    """Record funded revenue of which no distribution is declared."""
    event_id = await stage.record(amount, source=source)
    declared = await stage.database.run(stage.processing(event_id))
    canceling = partial(distributions.cancel, distribution_id=declared.id, operator="kim", reason="a test")
    await stage.database.run(canceling)
    return event_id


async def list_declared(stage: Stage) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in await stage.database.fetch_sql(DECLARED, stage.ipo_id)]


def test_schedule_declares_old_royalties_alone(dividends_url: str) -> None:
    async def act(database: Database) -> Any:
        stage = await Stage(database).open(1)
        for amount in (7, 8):
            await fund(stage, amount)
        await fund(stage, 100, "sale")
        for days in (29, 30, 30):
            await resale_royalties.declare_waiting(database, notice=DAY, now=NOW + days * DAY)
        declared = await list_declared(stage)
        await distributions.post_due(database, now=NOW + 31 * DAY)
        return declared, await stage.kept(), await stage.claim(stage.holders[0])

    assert run(dividends_url, act) == ([(15, 15, None, NOW + 31 * DAY)], 100, [15])


def test_royalties_of_a_suspended_master_wait(dividends_url: str) -> None:
    async def act(database: Database) -> Any:
        stage = await Stage(database).open(1)
        await fund(stage, 7)
        await stage.suspend()
        await resale_royalties.declare_waiting(database, notice=DAY, now=NOW + 30 * DAY)
        return await list_declared(stage)

    assert run(dividends_url, act) == []


def test_artist_and_schedule_at_once_declare_once(dividends_url: str, order: str) -> None:
    async def act(database: Database) -> Any:
        stage = await Stage(database).open(1)
        event_id = await fund(stage, 7)
        declaring = partial(resale_royalties.declare_one, event_id=event_id, notice=DAY, now=NOW)
        results = await race(database, order=order, steps=(stage.processing(event_id), declaring))
        return results, len(await list_declared(stage))

    expected = ["done", "done"] if order == "one first" else ["done", "revenue.declared"]
    assert run(dividends_url, act) == (expected, 1)
