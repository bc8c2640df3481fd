"""Offerings without a server: what buyers, artists, operators and the clock do in one, each at its instant."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID, uuid4

from audifi.app import FEATURES
from audifi.core.db.database import Database, Transaction
from audifi.core.idempotency.service import make_claim
from audifi.core.invariants import check
from audifi.ipos import closing, offers, purchases
from audifi.ipos.events import CLOCK
from audifi.ipos.offers import Rates
from audifi.ipos.purchases import PurchaseResult
from audifi.ipos.queries import CURRENT, IpoRow
from audifi.ipos.schemas import IpoTerms
from audifi.ledger.accounts import Purpose, user_account
from audifi.masters import states as masters
from tests.ipos.offerings import insert_funded_users, insert_master
from tests.ledger import ledgers
from tests.support import databases, races
from tests.support.races import Work

PRICE = 10
MONEY = 1000
NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
OPENS_AT = NOW + timedelta(minutes=1)
ENDS_AT = OPENS_AT + timedelta(minutes=30)
RATES = Rates(platform_bps=1000, sale_fee_bps=0, resale_fee_bps=0, currencies=["USD"])
MOMENT = timedelta(microseconds=1)

type Step = Callable[[Transaction], Awaitable[object]]


@dataclass(frozen=True, kw_only=True)
class Sale:
    """An offering of 20 shares, and buyers with money for all of them."""

    url: str
    master_id: UUID
    artist: UUID
    buyers: Sequence[UUID]

    def run(self, work: Work) -> str:
        """Return `done`, or the code of the refusal."""
        return races.run_work(self.url, work)

    def ipo(self) -> IpoRow:
        rows: list[IpoRow] = []

        async def read(database: Database) -> None:
            row = await database.fetch_one(CURRENT, IpoRow, master_id=self.master_id)
            assert row is not None
            rows.append(row)

        self.run(read)
        return rows[0]

    def race(self, first: Work, second: Work) -> list[str]:
        """Run both at once: the second begins when the first has done all but its COMMIT."""
        return races.works_in_order(self.url, first, second)

    def money(self, user_id: UUID, purpose: Purpose = "available") -> int:
        async def read() -> int:
            async with databases.connect_pools(self.url, size=2) as database:
                return (await ledgers.balance(database, user_account(user_id, purpose, "USD")))[0]

        return asyncio.run(read())

    # What happens

    def draft(self, **changes: Any) -> Work:
        terms = IpoTerms.model_validate(
            {
                "currency": "USD",
                "total_shares": 20,
                "unit_price": PRICE,
                "max_per_account": 20,
                "opens_at": OPENS_AT,
                "ends_at": ENDS_AT,
            }
            | changes
        )
        values: dict[str, Any] = {"artist_id": self.artist, "master_id": self.master_id, "rates": RATES, "now": NOW}
        return within(lambda tx: offers.create(tx, body=terms, **values))

    def launch(self) -> Work:
        values: dict[str, Any] = {"artist_id": self.artist, "master_id": self.master_id, "rates": RATES, "now": NOW}
        return within(lambda tx: offers.launch(tx, **values))

    def unlaunch(self, *, now: datetime) -> Work:
        return within(lambda tx: offers.unlaunch(tx, artist_id=self.artist, master_id=self.master_id, now=now))

    def suspend(self) -> Work:
        values: dict[str, Any] = {"master_id": self.master_id, "reason": "a claim", "by": masters.SYSTEM, "now": NOW}
        return within(lambda tx: masters.suspend(tx, **values))

    def buy(
        self, quantity: int, *, place: int = 0, reservation_id: UUID | None = None, now: datetime = OPENS_AT
    ) -> Work:
        """Buy in a transaction, which can be held before its COMMIT."""
        purchase = self.purchase(quantity, place=place, reservation_id=reservation_id, now=now)

        async def step(tx: Transaction) -> None:
            result = await purchase(tx)
            if result.sold_out_ipo is not None:
                await closing.complete(tx, ipo_id=result.sold_out_ipo, proceeds_delay=timedelta(0), now=now)

        return within(step)

    def sell_out(self, quantity: int) -> Work:
        """Buy the last shares as a request does."""
        purchase = self.purchase(quantity)
        return lambda database: closing.buy(database, purchase, proceeds_delay=timedelta(0), now=OPENS_AT)

    def purchase(
        self, quantity: int, *, place: int = 0, reservation_id: UUID | None = None, now: datetime = OPENS_AT
    ) -> Callable[[Database | Transaction], Awaitable[PurchaseResult]]:
        buyer = self.buyers[place]
        return partial(
            purchases.purchase,
            claim=make_claim(user_id=buyer, key=str(uuid4()), request=b""),
            user_id=buyer,
            master_id=self.master_id,
            quantity=quantity,
            expected_total=quantity * PRICE,
            reservation_id=reservation_id,
            now=now,
        )

    def reserve(self, quantity: int, *, place: int = 0) -> Work:
        values: dict[str, Any] = {"user_id": self.buyers[place], "master_id": self.master_id, "now": OPENS_AT}
        return within(lambda tx: purchases.reserve(tx, quantity=quantity, **values))

    def cancel_reservation(self, reservation_id: UUID) -> Work:
        values = {"user_id": self.buyers[0], "master_id": self.master_id, "reservation_id": reservation_id}
        return lambda database: purchases.cancel_reservation(database, **values)

    def expire_reservations(self, *, now: datetime) -> Work:
        return lambda database: purchases.expire_reservations(database, now=now)

    def withdraw(self, *, now: datetime) -> Work:
        purchase_id = self.first("ipo_purchases")
        values: dict[str, Any] = {"user_id": self.buyers[0], "master_id": self.master_id, "purchase_id": purchase_id}
        return within(lambda tx: purchases.withdraw(tx, now=now, **values))

    def pause(self) -> Work:
        values: dict[str, Any] = {"master_id": self.master_id, "paused": True, "by": CLOCK, "now": OPENS_AT}
        return within(lambda tx: offers.set_paused(tx, **values))

    def cancel(self, *, by_artist: bool = False) -> Work:
        artist_id = self.artist if by_artist else None
        values: dict[str, Any] = {"master_id": self.master_id, "by": CLOCK, "now": OPENS_AT, "artist_id": artist_id}
        return within(lambda tx: closing.start_cancel(tx, **values))

    def refund(self) -> Work:
        ipo_id = self.ipo().id
        return lambda database: closing.refund(database, ipo_id=ipo_id, now=ENDS_AT)

    def complete(self, *, now: datetime = ENDS_AT) -> Work:
        """End it, as the clock or its artist does."""
        ipo_id = self.ipo().id
        return within(lambda tx: closing.complete(tx, ipo_id=ipo_id, proceeds_delay=timedelta(0), now=now))

    def close_due(self, *, now: datetime) -> Work:
        return lambda database: closing.close_due(database, proceeds_delay=timedelta(0), now=now)

    def first(self, table: str) -> UUID:
        """Return the id of the first buyer's row."""
        query = f"SELECT id FROM {table} WHERE user_id = $1 ORDER BY id LIMIT 1"
        return UUID(str(databases.fetch_value(self.url, query, self.buyers[0])))


def within(step: Step) -> Work:
    """Return the work that is one transaction."""

    async def work(database: Database) -> None:
        await database.run(step)

    return work


def prepare(url: str, **changes: Any) -> Sale:
    """Return a drafted offering."""
    artist, *buyers = insert_funded_users(url, 3, MONEY)
    sale = Sale(url=url, master_id=insert_master(url, artist), artist=artist, buyers=buyers)
    assert sale.run(sale.draft(**changes)) == "done"
    return sale


def another(sale: Sale) -> Sale:
    """Return a drafted offering of the same artist."""
    other = replace(sale, master_id=insert_master(sale.url, sale.artist))
    assert other.run(other.draft()) == "done"
    return other


def launched(url: str, **changes: Any) -> Sale:
    sale = prepare(url, **changes)
    assert sale.run(sale.launch()) == "done"
    return sale


def violations(url: str) -> list[str]:
    async def run() -> list[str]:
        async with databases.connect_pools(url, size=1) as database, database.connection() as connection:
            invariants = [each for feature in FEATURES for each in feature.invariants]
            return [f"{each.invariant.name}: {each.examples}" for each in await check(connection, invariants)]

    return asyncio.run(run())
