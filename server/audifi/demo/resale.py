"""Listings: two that are open, one that was canceled, and one that was sold, of the master that is sold out."""

from uuid import UUID

from sqlalchemy import bindparam, select

from audifi.core.db.database import Transaction
from audifi.core.db.statements import Statement
from audifi.core.idempotency.service import fingerprint, make_claim
from audifi.demo.ipos import SOLD_OUT
from audifi.demo.world import Part, World
from audifi.resale import service
from audifi.resale.models import Listing
from audifi.resale.queries import SALE, SaleRow

LAST_SELLER = "chiara"
FIND_LISTING = Statement(select(Listing.id).where(Listing.seller_id == bindparam("seller_id")).limit(1))


async def is_there(world: World) -> bool:
    seller_id = await world.user(LAST_SELLER)
    return await world.services.database.fetch_value(FIND_LISTING, seller_id=seller_id) is not None


async def make(world: World) -> None:
    sold = await _list(world, "ben", (711, 740), unit_price=300, days_ago=1.8)
    await _buy(world, "elif", sold, days_ago=1.5)
    await _list(world, "ben", (301, 350), unit_price=320, days_ago=1.2)
    await _list(world, "ada", (1, 25), unit_price=400, days_ago=1)
    canceled = await _list(world, LAST_SELLER, (551, 570), unit_price=280, days_ago=0.8)
    seller_id = await world.user(LAST_SELLER)
    async with world.services.database.transaction() as tx:
        await service.cancel(tx, seller_id=seller_id, listing_id=canceled, now=world.ago(days=0.5))
    world.say(f"shares of “{SOLD_OUT.title}” are resold, and others listed")


async def _list(world: World, seller: str, serials: tuple[int, int], *, unit_price: int, days_ago: float) -> UUID:
    seller_id, master_id = await world.user(seller), await world.master(SOLD_OUT.artist, SOLD_OUT.title)
    async with world.services.database.transaction() as tx:
        listing = await service.create(
            tx,
            seller_id=seller_id,
            master_id=master_id,
            serials=serials,
            unit_price=unit_price,
            expires_at=world.ago(days=-60),
            now=world.ago(days=days_ago),
        )
    return listing.id


async def _buy(world: World, buyer: str, listing_id: UUID, *, days_ago: float) -> None:
    """Buy a listing, as `POST …/buy` does."""
    database, buyer_id = world.services.database, await world.user(buyer)
    now = world.ago(days=days_ago)
    sale = await database.fetch_row(SALE, SaleRow, listing_id=listing_id, now=now)
    key = f"demo:{listing_id}"
    claim = make_claim(user_id=buyer_id, key=key, request=fingerprint(key.encode()))

    async def call(tx: Transaction) -> None:
        await service.buy(tx, claim, sale=sale, buyer_id=buyer_id, expected_total=sale.total, now=now)

    await database.run(call, may_commit=False)


PART = Part(name="resale", is_there=is_there, make=make)
