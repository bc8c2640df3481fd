"""Dividends of the sold-out master: statements of a distributor, a distribution with claims, and a declared one."""

from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import bindparam, select

from audifi.core.db.statements import Statement
from audifi.core.idempotency.service import fingerprint, make_claim
from audifi.demo.ipos import SOLD_OUT
from audifi.demo.statements import import_statement, write_statement
from audifi.demo.world import Part, World
from audifi.dividends import claims, distributions, revenue
from audifi.dividends.models import RevenueEvent
from audifi.dividends.revenue import Actor, NewRevenue
from audifi.ipos.queries import CURRENT, IpoRow

LICENSE = "demo-license-1"
NOTICE = timedelta(days=1)

FIND_LICENSE = Statement(select(RevenueEvent.id).where(RevenueEvent.external_ref == LICENSE).limit(1))
FIND_EVENT = Statement(select(RevenueEvent.id).where(RevenueEvent.statement_id == bindparam("statement_id")))


async def is_there(world: World) -> bool:
    return await world.services.database.fetch_value(FIND_LICENSE) is not None


async def make(world: World) -> None:
    """Import two statements, share out the first one, and declare a license of which the record time is to come."""
    database, artist_id = world.services.database, await world.user(SOLD_OUT.artist)
    declared_at, record_at = world.ago(days=12), world.ago(days=11)
    statement_id = await import_statement(world, artist_id, write_statement(declared_at.date()), now=declared_at)
    event_id = await database.fetch_value(FIND_EVENT, statement_id=statement_id)
    await _declare(world, event_id, record_at=record_at, now=declared_at)
    await distributions.post_due(world.services.background_database, now=record_at)
    for holder in ("ada", "ben"):
        await _claim(world, holder, now=world.ago(days=10))
    world.say(f"a statement of “{SOLD_OUT.title}” is shared out, and claimed by two holders")

    reported_at = world.ago(days=2)
    await import_statement(world, artist_id, write_statement(reported_at.date(), unknown=5), now=reported_at)
    world.say("another statement is imported, with lines that match no master")

    now = world.ago(hours=6)
    license_id = await _record_license(world, now=now)
    await _declare(world, license_id, record_at=world.ago(days=-3), now=now)
    world.say("a license is declared, to be shared out in three days")


async def _record_license(world: World, *, now: datetime) -> UUID:
    database, day = world.services.database, now.date()
    master_id = await world.master(SOLD_OUT.artist, SOLD_OUT.title)
    ipo = await database.fetch_row(CURRENT, IpoRow, master_id=master_id)
    new = NewRevenue(
        ipo_id=ipo.id,
        source="license",
        amount=15_000,
        currency=SOLD_OUT.currency,
        period_start=day - timedelta(days=30),
        period_end=day,
        provider="Night Ferry Films",
        external_ref=LICENSE,
        recorded_by=ipo.artist_id,
    )
    async with database.transaction() as tx:
        return await revenue.record(tx, new, now=now)


async def _declare(world: World, event_id: UUID, *, record_at: datetime, now: datetime) -> None:
    """Let the artist pay revenue from the balance, and declare when it is shared out."""
    by = Actor(user_id=await world.user(SOLD_OUT.artist))
    async with world.services.database.transaction() as tx:
        await distributions.process(
            tx, event_id=event_id, by=by, receipt=None, record_at=record_at, notice=NOTICE, now=now
        )


async def _claim(world: World, name: str, *, now: datetime) -> None:
    """Claim all dividends of an account, as `POST …/claim` does."""
    user_id = await world.user(name)
    key = make_claim(user_id=user_id, key=f"demo:{now}", request=fingerprint(b"{}"))
    async with world.services.database.transaction() as tx:
        await claims.claim(tx, key, user_id=user_id, master_id=None, now=now)


PART = Part(name="dividends", is_there=is_there, make=make)
