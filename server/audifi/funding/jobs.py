"""Scheduled job of open payouts, every 30 seconds: send them, fetch their status, and measure their age."""

import logging
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import bindparam, func, select

from audifi.core.db.database import Database, Transaction
from audifi.core.db.statements import Statement
from audifi.core.http.problems import Problem
from audifi.core.jobs.queue import Schedule
from audifi.core.telemetry.redaction import describe_error
from audifi.funding import payouts
from audifi.funding.measures import PAYOUT_AGES
from audifi.funding.models import Payout, PayoutStatus
from audifi.funding.payouts import COLUMNS, IS_OPEN, PayoutRow
from audifi.funding.providers import Answer, PayoutProvider

if TYPE_CHECKING:
    from audifi.services import Services

logger = logging.getLogger(__name__)

EVERY_30_SECONDS = "* * * * * */30"
BATCH = 100
OPEN: tuple[PayoutStatus, ...] = ("requested", "submitted")

_payouts = Payout.__table__
OPEN_PAYOUTS = Statement(
    select(*COLUMNS)
    .where(IS_OPEN, _payouts.c.provider == bindparam("provider"), _payouts.c.id > bindparam("after"))
    .order_by(_payouts.c.id)
    .limit(BATCH)
)
FIRST = UUID(int=0)
OLDEST = Statement(
    select(_payouts.c.status, func.min(func.coalesce(_payouts.c.submitted_at, _payouts.c.created_at)).label("since"))
    .where(IS_OPEN)
    .group_by(_payouts.c.status)
)


@dataclass(frozen=True, slots=True)
class OldestRow:
    status: str
    since: datetime


async def process_payouts(database: Database, provider: PayoutProvider, *, name: str, now: datetime) -> None:
    """Send requested payouts, and ask for submitted ones: the server may have stopped between any two steps."""
    after = FIRST
    while batch := await database.fetch_all(OPEN_PAYOUTS, PayoutRow, provider=name, after=after):
        for payout in batch:
            await _process(database, provider, payout, now)
        after = batch[-1].id


async def _process(database: Database, provider: PayoutProvider, payout: PayoutRow, now: datetime) -> None:
    try:
        answer = (
            await _send(database, provider, payout, now)
            if payout.status == "requested"
            else (await provider.find(payout))
        )
        if answer:
            await record_answer(database, payout, answer, now)
    except Problem as problem:  # canceled meanwhile, in debt, frozen
        logger.info("payout not sent: id=%s code=%s", payout.id, problem.code)
    except Exception as error:  # noqa: BLE001 - one payout must not keep the others waiting; its age raises an alert
        logger.warning("payout without answer: id=%s error=%s", payout.id, describe_error(error))


async def _send(database: Database, provider: PayoutProvider, payout: PayoutRow, now: datetime) -> Answer:
    async def submit(transaction: Transaction) -> None:
        await payouts.submit(transaction, payout_id=payout.id, now=now)

    await database.run(submit)
    return await provider.send(payout)


async def record_answer(database: Database, payout: PayoutRow, answer: Answer, now: datetime) -> None:
    """Write the outcome of a payout."""
    if answer.status == "submitted":
        if answer.reference:
            await database.execute(payouts.REFER, payout_id=payout.id, new_provider_ref=answer.reference)
        return
    record = payouts.payout_paid if answer.status == "paid" else payouts.payout_failed

    async def end(transaction: Transaction) -> None:
        await record(transaction, payout_id=payout.id, reference=answer.reference, now=now)

    await database.run(end)


async def payout_ages(database: Database, *, now: datetime) -> dict[str, float]:
    """Return how long the oldest payout of each open status has been waiting, in seconds."""
    rows = await database.fetch_all(OLDEST, OldestRow)
    return dict.fromkeys(OPEN, 0.0) | {row.status: (now - row.since).total_seconds() for row in rows}


def schedules(services: "Services") -> list[Schedule]:
    database, clock, provider = services.background_database, services.clock, services.payout_provider

    async def process() -> None:
        if provider:
            await process_payouts(database, provider, name=provider.name, now=clock())
        for status, seconds in (await payout_ages(database, now=clock())).items():
            services.metrics.set(PAYOUT_AGES, seconds, status)

    return [Schedule(name="payouts", cron=EVERY_30_SECONDS, run=process)]
