"""The server is killed after any statement of an offering's end; a second run completes what is left."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from audifi.ipos import closing
from audifi.ledger.accounts import user_account
from dev.postgres import Postgres
from tests.ipos import sales
from tests.ipos.sales import ENDS_AT, MONEY, PRICE, Sale
from tests.ledger import ledgers
from tests.support import databases
from tests.support.kills import LAST, killed
from tests.support.races import Work

pytestmark = pytest.mark.slow

type Kill = Callable[[Sale, Work], Iterator[Sale]]


@pytest.fixture
def kill(postgres_server: Postgres) -> Kill:
    """Runs work on copies of an offering's database; on the first it is killed after one statement, then after two."""

    def run(sale: Sale, work: Work) -> Iterator[Sale]:
        for statements in range(LAST):
            copy = replace(sale, url=databases.create_database(postgres_server, name(sale)))
            was_killed = asyncio.run(killed(copy.url, work, statements))
            assert sales.violations(copy.url) == []
            yield copy
            databases.execute(postgres_server.url(), f"DROP DATABASE {name(copy)} WITH (FORCE)")
            if not was_killed:
                assert statements > 3
                return
        raise AssertionError("the work has more statements than this test tries")

    return run


def name(sale: Sale) -> str:
    return sale.url.partition("?")[0].rpartition("/")[2]


def sold(url: str, *, min_shares: int = 0) -> Sale:
    """Return an offering in which two buyers have bought 3 shares each."""
    sale = sales.launched(url, min_shares=min_shares)
    for place in (0, 1):
        assert sale.run(sale.buy(3, place=place)) == "done"
    return sale


def balances(sale: Sale) -> tuple[list[int], int]:
    """Return the money of the buyers, and the pending proceeds of the artist."""

    async def read() -> Any:
        async with databases.connect_pools(sale.url, size=2) as database:
            buyers = [(await ledgers.balance(database, ledgers.available(buyer)))[0] for buyer in sale.buyers]
            pending = user_account(sale.artist, "pending", "USD")
            return buyers, (await ledgers.balance(database, pending))[0]

    money: tuple[list[int], int] = asyncio.run(read())
    return money


@pytest.mark.parametrize(
    ("min_shares", "status", "money", "proceeds"),
    [(0, "completed", MONEY - 3 * PRICE, 6 * PRICE), (7, "canceled", MONEY, 0)],
)
def test_killed_end_is_completed_by_the_next(
    migrated_database_url: str, kill: Kill, min_shares: int, status: str, money: int, proceeds: int
) -> None:
    """With 6 shares sold, it is completed; with a minimum of 7, all buyers are refunded."""
    sale = sold(migrated_database_url, min_shares=min_shares)
    close = sale.close_due(now=ENDS_AT)

    for copy in kill(sale, close):
        assert copy.run(close) == "done"

        assert copy.ipo().status == status
        assert balances(copy) == ([money, money], proceeds)
        assert sales.violations(copy.url) == []


def test_killed_purchase_of_the_last_share_is_whole_or_absent(migrated_database_url: str, kill: Kill) -> None:
    sale = sold(migrated_database_url)

    ends = [(copy.ipo().status, balances(copy)) for copy in kill(sale, sale.sell_out(14))]

    absent = ("live", ([MONEY - 3 * PRICE] * 2, 0))
    whole = ("completed", ([MONEY - 17 * PRICE, MONEY - 3 * PRICE], 20 * PRICE))
    assert ends == [absent] * (len(ends) - 2) + [whole] * 2  # the last but one was killed after COMMIT


def test_killed_release_of_proceeds_releases_once(migrated_database_url: str, kill: Kill) -> None:
    sale = sold(migrated_database_url)
    sale.run(sale.complete())

    async def release(database: Any) -> None:
        await closing.release_due(database, now=ENDS_AT)

    for copy in kill(sale, release):
        copy.run(release)

        assert (copy.money(sale.artist), balances(copy)[1]) == (MONEY + 6 * PRICE, 0)
