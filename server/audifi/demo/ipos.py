"""Offerings in each state, with holders: the services get times in the past, so that there is a history."""

import json
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from audifi.core.db.database import Transaction
from audifi.core.idempotency.service import fingerprint, make_claim
from audifi.demo.world import OPERATOR, Part, World
from audifi.ipos import closing, offers, purchases
from audifi.ipos.events import Actor
from audifi.ipos.offers import Rates
from audifi.ipos.purchases import PurchaseResult
from audifi.ipos.queries import CURRENT, IpoRow
from audifi.ipos.schemas import AllowlistEntry, IpoTerms

BY = Actor(name=OPERATOR, reason="A question about the rights is open")


@dataclass(frozen=True, kw_only=True)
class Purchase:
    """Shares that a fan buys."""

    buyer: str
    quantity: int
    days_ago: float


@dataclass(frozen=True, kw_only=True)
class DemoIpo:
    """An offering: its terms, and its purchases in order."""

    artist: str
    title: str
    unit_price: int
    offered: int
    opens_days_ago: float
    ends_in_days: float
    retained: int = 200
    currency: str = "USD"
    reflection_hours: int = 0
    lockup_days: int = 0
    allowlist: list[str] = field(default_factory=list)
    """Accounts that may buy on the first day."""
    is_launched: bool = True
    purchases: list[Purchase] = field(default_factory=list)


SOLD_OUT = DemoIpo(
    artist="mira",
    title="Harbor Lights",
    unit_price=250,
    offered=800,
    opens_days_ago=32,
    ends_in_days=20,
    purchases=[
        Purchase(buyer="ada", quantity=300, days_ago=31.9),
        Purchase(buyer="ben", quantity=250, days_ago=31.5),
        Purchase(buyer="chiara", quantity=100, days_ago=31),
        Purchase(buyer="finn", quantity=60, days_ago=30.5),
        Purchase(buyer="ben", quantity=90, days_ago=30),
    ],
)
LIVE = DemoIpo(
    artist="mira",
    title="Paper Moons",
    unit_price=500,
    offered=400,
    retained=100,
    opens_days_ago=5,
    ends_in_days=25,
    reflection_hours=48,
    lockup_days=30,
    purchases=[
        Purchase(buyer="ben", quantity=40, days_ago=4.8),
        Purchase(buyer="ada", quantity=75, days_ago=3),
        Purchase(buyer="chiara", quantity=20, days_ago=1),
    ],
)
SCHEDULED = DemoIpo(
    artist="juno",
    title="Red Earth",
    unit_price=1000,
    offered=250,
    currency="EUR",
    opens_days_ago=-3,
    ends_in_days=33,
    allowlist=["ada", "ben"],
)
PAUSED = DemoIpo(
    artist="juno",
    title="Second Sun",
    unit_price=300,
    offered=500,
    opens_days_ago=8,
    ends_in_days=22,
    purchases=[
        Purchase(buyer="ada", quantity=50, days_ago=7.5),
        Purchase(buyer="ben", quantity=30, days_ago=7),
    ],
)
CANCELED = DemoIpo(
    artist="parade",
    title="Rooms Without Doors",
    unit_price=400,
    offered=600,
    retained=400,
    opens_days_ago=25,
    ends_in_days=10,
    purchases=[
        Purchase(buyer="ada", quantity=25, days_ago=24),
        Purchase(buyer="chiara", quantity=40, days_ago=23),
    ],
)
DRAFT = DemoIpo(
    artist="parade",
    title="Winter Coats",
    unit_price=200,
    offered=900,
    retained=100,
    opens_days_ago=-7,
    ends_in_days=37,
    is_launched=False,
)


async def is_there(world: World) -> bool:
    master_id = await world.find_master(SCHEDULED.artist, SCHEDULED.title)
    return await world.services.database.fetch_one(CURRENT, IpoRow, master_id=master_id) is not None


async def make(world: World) -> None:
    """Make the offerings in the order of their sales: an account's entries are in the order of time."""
    database = world.services.database
    await _make_ipo(world, SOLD_OUT)
    await closing.release_due(database, now=world.ago(days=20))
    world.say(f"“{SOLD_OUT.title}” is sold out, and its proceeds are released")

    master_id, _ = await _make_ipo(world, CANCELED)
    async with database.transaction() as tx:
        ipo = await closing.start_cancel(tx, master_id=master_id, by=BY, now=world.ago(days=18))
    await closing.refund(database, ipo_id=ipo.id, now=world.ago(days=18))
    world.say(f"“{CANCELED.title}” is canceled, and its buyers are refunded")

    master_id, _ = await _make_ipo(world, PAUSED)
    async with database.transaction() as tx:
        await offers.set_paused(tx, master_id=master_id, paused=True, by=BY, now=world.ago(days=6))
    world.say(f"“{PAUSED.title}” is paused")

    master_id, purchase_ids = await _make_ipo(world, LIVE)
    last, buyer = purchase_ids[-1], await world.user(LIVE.purchases[-1].buyer)
    async with database.transaction() as tx:
        await purchases.withdraw(tx, user_id=buyer, master_id=master_id, purchase_id=last, now=world.ago(hours=20))
        await purchases.reserve(tx, user_id=buyer, master_id=master_id, quantity=10, now=world.today)
    world.say(f"“{LIVE.title}” is live, with a withdrawal and a reservation")

    await _make_ipo(world, DRAFT)
    await _make_ipo(world, SCHEDULED)
    world.say(f"“{SCHEDULED.title}” is scheduled, and “{DRAFT.title}” has a draft")


async def _make_ipo(world: World, ipo: DemoIpo) -> tuple[UUID, list[UUID]]:
    """Draft an offering, launch it a day before it opens, or now, and let the fans buy.

    Returns:
        The ids of its master and of the purchases.
    """
    database, settings = world.services.database, world.services.settings
    rates = Rates(
        platform_bps=settings.platform_bps,
        sale_fee_bps=settings.sale_fee_bps,
        resale_fee_bps=settings.resale_fee_bps,
        currencies=settings.currencies,
    )
    ids = {
        "artist_id": await world.user(ipo.artist),
        "master_id": await world.master(ipo.artist, ipo.title),
    }
    launched_at = world.ago(days=max(ipo.opens_days_ago + 1, 0))
    opens_at = world.ago(days=ipo.opens_days_ago)
    terms = IpoTerms(
        currency=ipo.currency,
        total_shares=ipo.offered + ipo.retained,
        retained_shares=ipo.retained,
        unit_price=ipo.unit_price,
        max_per_account=ipo.offered // 2,
        min_shares=50,
        lockup_days=ipo.lockup_days,
        reflection_hours=ipo.reflection_hours,
        opens_at=opens_at,
        allowlist_until=opens_at + timedelta(days=1) if ipo.allowlist else None,
        ends_at=world.ago(days=-ipo.ends_in_days),
    )
    async with database.transaction() as tx:
        await offers.create(tx, **ids, body=terms, rates=rates, now=launched_at)
    if ipo.allowlist:
        entries = [AllowlistEntry(user_id=await world.user(name)) for name in ipo.allowlist]
        await offers.set_allowlist(database, **ids, entries=entries)
    if ipo.is_launched:
        async with database.transaction() as tx:
            await offers.launch(tx, **ids, rates=rates, now=launched_at)
    return ids["master_id"], [await _buy(world, ids["master_id"], ipo, purchase) for purchase in ipo.purchases]


async def _buy(world: World, master_id: UUID, ipo: DemoIpo, purchase: Purchase) -> UUID:
    """Buy shares, as `POST …/mint` does; return the purchase's id."""
    services, now = world.services, world.ago(days=purchase.days_ago)
    user_id = await world.user(purchase.buyer)
    key = f"demo:{master_id}:{purchase.days_ago}"
    claim = make_claim(user_id=user_id, key=key, request=fingerprint(key.encode()))

    async def call(tx: Transaction) -> PurchaseResult:
        result = await purchases.purchase(
            tx,
            claim,
            user_id=user_id,
            master_id=master_id,
            quantity=purchase.quantity,
            expected_total=purchase.quantity * ipo.unit_price,
            reservation_id=None,
            now=now,
        )
        if result.sold_out_ipo is not None:
            delay = services.settings.proceeds_delay
            await closing.complete(tx, ipo_id=result.sold_out_ipo, proceeds_delay=delay, now=now)
        return result

    result = await services.database.run(call, may_commit=False)
    return UUID(json.loads(result.body)["purchase_id"])


PART = Part(name="offerings", is_there=is_there, make=make)
