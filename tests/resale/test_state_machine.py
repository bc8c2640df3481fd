"""Random listings, cancellations, sales and expiries; all invariants hold after each step."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar
from uuid import UUID, uuid4

import pytest
from hypothesis import settings, strategies
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from audifi.app import FEATURES
from audifi.core.db.database import Transaction
from audifi.core.http.problems import Problem
from audifi.core.idempotency.service import make_claim
from audifi.core.invariants import check
from audifi.ipos import closing, offers, purchases
from audifi.ipos.offers import Rates
from audifi.ipos.queries import CURRENT, IpoRow
from audifi.ipos.schemas import IpoTerms
from audifi.ipos.splits import DEFAULT_ROYALTY, Tiers
from audifi.ledger.jobs import expire_holds
from audifi.resale import service
from audifi.resale.queries import SALE, SaleRow
from tests.ipos.offerings import insert_funded_users, insert_master
from tests.subscriptions.accounts import give_plan
from tests.support import databases

pytestmark = pytest.mark.slow

MONEY = 3000
TIERS = Tiers(mode="tiers", tiers=[(3, 1500), (11, 777), (None, 50)])
PLACES = strategies.integers(0, 3)
INVARIANTS = [each for feature in FEATURES for each in feature.invariants]


class ResaleMachine(RuleBasedStateMachine):
    """A completed offering of 30 shares: three accounts hold 10 of them each, and a fourth has money only."""

    url: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.database = databases.connect_pools(self.url, size=2)
        self.now = datetime.now(UTC)
        self.listings: list[UUID] = []

    def teardown(self) -> None:
        self.loop.run_until_complete(self.database.close())
        self.loop.close()

    def act[T](self, work: Callable[[Transaction], Awaitable[T]]) -> T | None:
        """Run it in a transaction; None where it is refused."""

        async def run() -> T | None:
            try:
                async with self.database.transaction() as tx:
                    return await work(tx)
            except Problem:
                return None

        return self.loop.run_until_complete(run())

    @initialize(
        royalty=strategies.sampled_from([DEFAULT_ROYALTY, TIERS]),
        fee=strategies.sampled_from([0, 333]),
        to_holders=strategies.sampled_from([0, 2500, 10_000]),
    )
    def complete(self, royalty: Any, fee: int, to_holders: int) -> None:
        self.artist, *self.users = insert_funded_users(self.url, 5, MONEY)
        give_plan(self.url, self.artist)
        self.master_id = insert_master(self.url, self.artist)
        opens_at = self.now + timedelta(minutes=1)
        terms = IpoTerms(
            currency="USD",
            total_shares=30,
            unit_price=10,
            max_per_account=10,
            royalty=royalty,
            royalty_to_holders_bps=to_holders,
            opens_at=opens_at,
            ends_at=opens_at + timedelta(days=1),
        )
        rates = Rates(platform_bps=1000, sale_fee_bps=0, resale_fee_bps=fee, currencies=["USD"])

        async def run(tx: Transaction) -> None:
            values: dict[str, Any] = {"artist_id": self.artist, "master_id": self.master_id, "now": self.now}
            await offers.create(tx, body=terms, rates=rates, **values)
            await offers.launch(tx, rates=rates, **values)
            for buyer in self.users[:3]:
                await purchases.purchase(
                    tx,
                    make_claim(user_id=buyer, key=str(uuid4()), request=b""),
                    user_id=buyer,
                    master_id=self.master_id,
                    quantity=10,
                    expected_total=100,
                    reservation_id=None,
                    now=opens_at,
                )
            ipo = await tx.fetch_one(CURRENT, IpoRow, master_id=self.master_id)
            assert ipo is not None
            await closing.complete(tx, ipo_id=ipo.id, proceeds_delay=timedelta(0), now=opens_at)

        self.act(run)
        self.now = opens_at

    @rule(
        place=PLACES,
        first=strategies.integers(1, 30),
        length=strategies.integers(1, 6),
        price=strategies.integers(1, 199),
        hours=strategies.integers(1, 3),
    )
    def list_shares(self, place: int, first: int, length: int, price: int, hours: int) -> None:
        listing = self.act(
            lambda tx: service.create(
                tx,
                seller_id=self.users[place],
                master_id=self.master_id,
                serials=(first, first + length - 1),
                unit_price=price,
                expires_at=self.now + timedelta(hours=hours),
                now=self.now,
            )
        )
        if listing is not None:
            self.listings.append(listing.id)

    @rule(place=PLACES, index=strategies.integers(0, 9))
    def cancel(self, place: int, index: int) -> None:
        if index < len(self.listings):
            listing_id = self.listings[-1 - index]
            self.act(lambda tx: service.cancel(tx, seller_id=self.users[place], listing_id=listing_id, now=self.now))

    @rule(place=PLACES, index=strategies.integers(0, 9))
    def buy(self, place: int, index: int) -> None:
        if index >= len(self.listings):
            return
        buyer, listing_id = self.users[place], self.listings[-1 - index]
        reading = self.database.fetch_one(SALE, SaleRow, listing_id=listing_id, now=self.now)
        sale = self.loop.run_until_complete(reading)
        assert sale is not None
        claim = make_claim(user_id=buyer, key=str(uuid4()), request=b"")
        bought = self.act(
            lambda tx: service.buy(tx, claim, sale=sale, buyer_id=buyer, expected_total=sale.total, now=self.now)
        )
        if bought is not None:
            assert (sale.status, sale.seller_id != buyer, sale.expires_at > self.now) == ("open", True, True)

    @rule(minutes=strategies.sampled_from([1, 61, 130]), is_swept=strategies.booleans())
    def wait(self, minutes: int, *, is_swept: bool) -> None:
        self.now += timedelta(minutes=minutes)
        self.loop.run_until_complete(expire_holds(self.database, now=self.now))
        if is_swept:
            self.loop.run_until_complete(service.expire(self.database, now=self.now))

    @invariant()
    def invariants_hold(self) -> None:
        async def run() -> list[str]:
            async with self.database.connection() as connection:
                return [violation.invariant.name for violation in await check(connection, INVARIANTS)]

        assert self.loop.run_until_complete(run()) == []


def test_resale_invariants_hold_in_any_order(migrated_database_url: str) -> None:
    ResaleMachine.url = migrated_database_url
    run_state_machine_as_test(ResaleMachine, settings=settings(max_examples=15, stateful_step_count=25, deadline=None))
