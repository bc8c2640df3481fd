"""Random purchases, reservations, withdrawals and ends of an offering; all invariants hold after each step."""

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
from audifi.ipos.events import CLOCK
from audifi.ipos.offers import Rates
from audifi.ipos.queries import CURRENT, IpoRow
from audifi.ipos.schemas import IpoTerms
from tests.ipos.offerings import insert_funded_users, insert_master
from tests.support import databases

pytestmark = pytest.mark.slow

PRICE = 10
MONEY = 400
BUYERS = strategies.integers(0, 3)
QUANTITIES = strategies.integers(1, 12)
INVARIANTS = [each for feature in FEATURES for each in feature.invariants]


class IpoMachine(RuleBasedStateMachine):
    """An offering of 40 shares, and four buyers with money for 40 of them each."""

    url: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.database = databases.connect_pools(self.url, size=2)
        self.now = datetime.now(UTC)
        self.bought: list[tuple[UUID, UUID]] = []
        self.reserved: list[tuple[UUID, UUID, int]] = []

    def teardown(self) -> None:
        self.loop.run_until_complete(self.database.close())
        self.loop.close()

    def act(self, work: Callable[[Transaction], Awaitable[Any]]) -> Any:
        """Run it in a transaction; None where it is refused."""

        async def run() -> Any:
            try:
                async with self.database.transaction() as tx:
                    return await work(tx)
            except Problem:
                return None

        return self.loop.run_until_complete(run())

    def ipo(self) -> IpoRow:
        row = self.loop.run_until_complete(self.database.fetch_one(CURRENT, IpoRow, master_id=self.master_id))
        assert row is not None
        return row

    @initialize(
        retained=strategies.sampled_from([0, 5]), reflection=strategies.sampled_from([0, 1]), minimum=QUANTITIES
    )
    def launch(self, retained: int, reflection: int, minimum: int) -> None:
        self.artist, *self.buyers = insert_funded_users(self.url, 5, MONEY)
        self.master_id = insert_master(self.url, self.artist)
        opens_at = self.now + timedelta(minutes=1)
        terms = IpoTerms(
            currency="USD",
            total_shares=40 + retained,
            retained_shares=retained,
            unit_price=PRICE,
            max_per_account=15,
            min_shares=minimum,
            reflection_hours=reflection,
            opens_at=opens_at,
            ends_at=opens_at + timedelta(days=1),
        )
        rates = Rates(platform_bps=1000, sale_fee_bps=333, resale_fee_bps=0, currencies=["USD"])

        async def run(tx: Transaction) -> None:
            values: dict[str, Any] = {
                "artist_id": self.artist,
                "master_id": self.master_id,
                "rates": rates,
                "now": self.now,
            }
            await offers.create(tx, body=terms, **values)
            await offers.launch(tx, **values)

        self.act(run)
        self.now = opens_at

    @rule(place=BUYERS, quantity=QUANTITIES, with_reservation=strategies.booleans())
    def buy(self, place: int, quantity: int, *, with_reservation: bool) -> None:
        buyer, reservation_id = self.buyers[place], None
        if with_reservation and self.reserved:
            reservation_id, buyer, quantity = self.reserved.pop()

        async def run(tx: Transaction) -> None:
            result = await purchases.purchase(
                tx,
                make_claim(user_id=buyer, key=str(uuid4()), request=b""),
                user_id=buyer,
                master_id=self.master_id,
                quantity=quantity,
                expected_total=quantity * PRICE,
                reservation_id=reservation_id,
                now=self.now,
            )
            if result.sold_out_ipo:
                await closing.complete(tx, ipo_id=result.sold_out_ipo, proceeds_delay=timedelta(0), now=self.now)

        before = self.ipo()
        self.act(run)
        after = self.ipo()
        assert after.sold - before.sold in {0, quantity}

    @rule(place=BUYERS, quantity=strategies.integers(1, 4))
    def reserve(self, place: int, quantity: int) -> None:
        buyer = self.buyers[place]

        async def run(tx: Transaction) -> UUID:
            made = await purchases.reserve(tx, user_id=buyer, master_id=self.master_id, quantity=quantity, now=self.now)
            return made[0]

        reservation_id = self.act(run)
        if reservation_id is not None:
            self.reserved.append((reservation_id, buyer, quantity))

    @rule(place=BUYERS)
    def withdraw(self, place: int) -> None:
        buyer = self.buyers[place]
        first = "SELECT min(id::text)::uuid FROM ipo_purchases WHERE user_id = $1 AND status = 'settled'"
        purchase_id: Any = databases.fetch_value(self.url, first, buyer)
        if purchase_id is not None:
            self.act(
                lambda tx: purchases.withdraw(
                    tx, user_id=buyer, master_id=self.master_id, purchase_id=purchase_id, now=self.now
                )
            )

    @rule(seconds=strategies.sampled_from([1, 700, 4000, 90_000]))
    def wait_and_sweep(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

        async def run() -> None:
            await purchases.expire_reservations(self.database, now=self.now)
            await closing.close_due(self.database, proceeds_delay=timedelta(days=1), now=self.now)
            await closing.release_due(self.database, now=self.now)

        self.loop.run_until_complete(run())

    @rule(paused=strategies.booleans())
    def pause(self, *, paused: bool) -> None:
        self.act(lambda tx: offers.set_paused(tx, master_id=self.master_id, paused=paused, by=CLOCK, now=self.now))

    @rule(by_artist=strategies.booleans())
    def cancel(self, *, by_artist: bool) -> None:
        artist_id = self.artist if by_artist else None
        self.act(
            lambda tx: closing.start_cancel(tx, master_id=self.master_id, by=CLOCK, now=self.now, artist_id=artist_id)
        )

    @rule()
    def end_now(self) -> None:
        ipo_id = self.ipo().id
        self.act(lambda tx: closing.complete(tx, ipo_id=ipo_id, proceeds_delay=timedelta(0), now=self.now))

    @invariant()
    def invariants_hold(self) -> None:
        async def run() -> list[str]:
            async with self.database.connection() as connection:
                return [violation.invariant.name for violation in await check(connection, INVARIANTS)]

        assert self.loop.run_until_complete(run()) == []


def test_invariants_hold_in_any_order(migrated_database_url: str) -> None:
    IpoMachine.url = migrated_database_url
    run_state_machine_as_test(IpoMachine, settings=settings(max_examples=15, stateful_step_count=25, deadline=None))
