"""Two transactions on one listing, in both orders."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from audifi.core.db.database import Database
from audifi.core.idempotency.service import make_claim
from audifi.resale import service
from audifi.resale.queries import SALE, SaleRow
from tests.ipos.offerings import code, post, user_id
from tests.resale.markets import Market
from tests.support import databases
from tests.support.races import works_in_order
from tests.support.waiting import wait_until


def outcomes(market: Market, lock: str, *calls: Callable[[], object]) -> list[str]:
    answers = databases.in_order(market.offering.app.database_url, lock, *calls)
    return ["ok" if answer.is_success else code(answer) for answer in answers]  # type: ignore[attr-defined, arg-type]


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (["buy", "other_buy"], ["ok", "409 listing.not_open"]),
        (["other_buy", "buy"], ["ok", "409 listing.not_open"]),
        (["buy", "cancel"], ["ok", "409 listing.not_open"]),
        (["cancel", "buy"], ["ok", "409 listing.not_open"]),
        (["cancel", "cancel"], ["ok", "409 listing.not_open"]),
        (["buy", "list"], ["ok", "409 share.not_held"]),
        (["list", "buy"], ["409 share.listed", "ok"]),
        (["cancel", "list"], ["ok", "ok"]),
    ],
)
def test_first_of_two_gets_the_listing(market: Market, order: list[str], expected: list[str]) -> None:
    listing = market.open(4, 6)
    calls = {
        "buy": lambda: market.buy(market.minters[1], listing, 3000),
        "other_buy": lambda: market.buy(market.minters[2], listing, 3000),
        "cancel": lambda: market.cancel(listing),
        "list": lambda: market.list_shares(5, 5),
    }
    lock = f"SELECT FROM listings WHERE id = '{listing}' FOR UPDATE"

    assert outcomes(market, lock, *(calls[name] for name in order)) == expected


@pytest.mark.parametrize("ranges", [((1, 5), (5, 6)), ((5, 6), (1, 5))])
def test_overlapping_shares_are_listed_once(market: Market, ranges: list[tuple[int, int]]) -> None:
    lock = f"SELECT FROM users WHERE id = '{user_id(market.seller)}' FOR UPDATE"

    calls = [lambda serials=serials: market.list_shares(*serials) for serials in ranges]

    assert outcomes(market, lock, *calls) == ["ok", "409 share.listed"]


@pytest.mark.parametrize("sale_is_first", [True, False])
def test_sale_and_expiry_exclude_each_other(market: Market, *, sale_is_first: bool) -> None:
    listing, buyer = UUID(market.open(4, 6)), UUID(user_id(market.minters[1]))
    url, now = market.offering.app.database_url, market.offering.now()

    async def buy(database: Database) -> None:
        sale = await database.fetch_one(SALE, SaleRow, listing_id=listing, now=now)
        assert sale is not None
        claim = make_claim(user_id=buyer, key=str(uuid4()), request=b"")
        async with database.transaction() as tx:
            await service.buy(tx, claim, sale=sale, buyer_id=buyer, expected_total=3000, now=now)

    async def expire(database: Database) -> None:
        async with database.transaction() as tx:
            await tx.execute(service.EXPIRE, now=now + timedelta(days=1))

    works = (buy, expire) if sale_is_first else (expire, buy)
    assert works_in_order(url, *works) == (["done", "done"] if sale_is_first else ["done", "listing.not_open"])
    status = databases.fetch_value(url, "SELECT status FROM listings WHERE id = $1", listing)
    assert status == ("sold" if sale_is_first else "expired")


def test_withdrawal_takes_no_share_out_of_a_listing(market: Market) -> None:
    buyer, url = market.minters[1], market.offering.app.database_url
    purchase = databases.fetch_value(url, f"SELECT id FROM ipo_purchases WHERE user_id = '{user_id(market.seller)}'")
    listing = market.open(4, 6)

    def withdraw() -> str:
        return code(post(market.seller, f"{market.offering.path}/purchases/{purchase}/withdraw"))

    assert withdraw() == "409 withdrawal.closed"
    with (
        ThreadPoolExecutor(1) as threads,
        databases.holding(url, f"SELECT FROM listings WHERE id = '{listing}' FOR UPDATE") as waiting,
    ):
        bought = threads.submit(market.buy, buyer, listing, 3000)
        wait_until(lambda: waiting() == 1)
        assert withdraw() == "409 withdrawal.closed"
    assert bought.result().status_code == 201
    assert market.serials(buyer) == [[4, 6], [11, 14]]
