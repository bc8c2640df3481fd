"""Buying what is listed, and each party's part of it."""

import asyncio
import dataclasses
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from audifi.core.idempotency.service import make_claim
from audifi.resale import service
from audifi.resale.queries import SALE, SaleRow
from tests.ipos.offerings import Offering, code, fund, user_id
from tests.resale.markets import MONEY, Market, open_market
from tests.support import databases
from tests.support.clients import at_once

TIERS = {"mode": "tiers", "tiers": [[4, 1000], [8, 333], [None, 50]]}
TABLES = "listings share_lots share_movements ledger_entries ledger_transfers ledger_holds idempotency_keys".split()


def rows(market: Market) -> list[object]:
    """Return the number of rows in each table that a sale writes to, and the ends of listings and holds."""
    url = market.offering.app.database_url
    counts = [databases.fetch_value(url, f"SELECT count(*) FROM {table}") for table in TABLES]
    ended = "SELECT count(*) FROM {} WHERE status <> 'open'"
    return counts + [databases.fetch_value(url, ended.format(table)) for table in ("listings", "ledger_holds")]


def test_sale_pays_everybody_and_delivers(market: Market) -> None:
    buyer, artist = market.offering.buyer(money=5000), market.offering.artist
    before = market.balances(*market.minters, artist)
    listing = market.open(4, 6, unit_price=1003)

    bought = market.buy(buyer, listing, 3009)

    assert bought.status_code == 201, bought.text
    assert (bought.json()["serials"], bought.json()["total"]) == ([4, 6], 3009)
    gains = [after - each for after, each in zip(market.balances(*market.minters, artist), before, strict=True)]
    seller = 3009 - 300 - 150 - 90 - 30
    assert gains == [seller + 150, 90, 30, 300]
    assert market.balances(buyer)[0] == 5000 - 3009
    assert market.serials(buyer) == [[4, 6]]
    assert market.serials(market.seller) == [[1, 3], [7, 10]]
    assert market.listings() == []
    history = buyer.ask("GET", f"/masters/{market.offering.master_id}/shares/5").json()["movements"]
    assert [(each["reason"], each["price"]) for each in history] == [("resale", 1003), ("sale", 250)]


def test_tiers_pay_the_artist_by_serial(offering: Offering) -> None:
    market = open_market(offering, royalty=TIERS)
    databases.execute(offering.app.database_url, f"UPDATE ipos SET resale_fee_bps = 150 WHERE id = '{market.ipo_id}'")
    before = market.balances(*market.minters, offering.artist)
    listing = market.open(3, 9, unit_price=1001)
    buyer = offering.buyer()

    preview = market.preview(listing)
    assert market.buy(buyer, listing, 7007).status_code == 201

    artist, fee = 2 * 100 + 4 * 33 + 1 * 5, 105
    gains = [
        after - each for after, each in zip(market.balances(*market.minters, offering.artist), before, strict=True)
    ]
    assert gains == [7007 - artist - fee, 0, 0, artist]
    assert [(part["role"], part["amount"]) for part in preview["parts"]] == [
        ("seller", 7007 - artist - fee),
        ("artist", artist),
        ("platform", fee),
    ]


def test_whole_and_edges_of_a_lot_are_sold(market: Market) -> None:
    buyer = market.offering.buyer()

    for first, last in ((1, 2), (10, 10), (3, 9)):
        count = last - first + 1
        assert market.buy(buyer, market.open(first, last), count * 1000).status_code == 201

    assert market.serials(market.seller) == []
    assert market.serials(buyer) == [[1, 2], [3, 9], [10, 10]]


def test_bought_shares_can_be_resold_at_once(market: Market) -> None:
    buyer, next_buyer = market.offering.buyer(), market.offering.buyer()
    market.buy(buyer, market.open(1, 10), 10_000)

    listing = market.open(2, 4, seller=buyer)

    assert market.buy(next_buyer, listing, 3000).status_code == 201
    assert market.serials(next_buyer) == [[2, 4]]


def test_minter_and_artist_pay_less_their_own_part(market: Market) -> None:
    artist = fund(market.offering.app, market.offering.artist, 1000)
    before = market.balances(market.minters[1], artist)

    market.buy(market.minters[1], market.open(1, 1), 1000)
    market.buy(artist, market.open(2, 2), 1000)

    assert market.balances(market.minters[1], artist) == [before[0] - 1000 + 30 + 30, before[1] - 1000 + 100 + 100]
    assert market.serials(artist) == [[2, 2], [17, 20]]


def test_part_of_a_deleted_minter_stays_with_the_seller(market: Market) -> None:
    third = market.minters[2]
    market.buy(market.seller, market.open(15, 16, seller=third), 2000)
    fund(market.offering.app, third, -market.balances(third)[0])
    assert third.as_signed_in("DELETE", "/auth/me").status_code == 204
    before = market.balances(market.seller)
    listing = market.open(1, 1, unit_price=10_000)

    assert market.buy(market.offering.buyer(), listing, 10_000).status_code == 201

    assert market.balances(market.seller)[0] - before[0] == 10_000 - 1000 - 300
    names = market.seller.ask("GET", f"/masters/{market.offering.master_id}/mover-advantage").json()["minters"]
    assert [minter["rank"] for minter in names] == [1, 2]


def test_retry_buys_once(market: Market) -> None:
    listing, buyer = market.open(1, 3), market.offering.buyer()

    first, retry = (market.buy(buyer, listing, 3000, key="one") for _ in range(2))

    assert (retry.status_code, retry.json()) == (201, first.json())
    assert retry.headers["Idempotent-Replayed"] == "true"
    assert code(market.buy(buyer, listing, 3001, key="one")) == "422 idempotency_key.reused"
    assert market.balances(buyer)[0] == MONEY - 3000


def test_refused_purchases_leave_no_row(market: Market) -> None:
    poor, debtor, frozen = market.offering.buyer(money=999), market.offering.buyer(money=1), market.offering.buyer()
    fund(market.offering.app, debtor, -1, purpose="debt")
    market.freeze(frozen)
    listing, unknown = market.open(4, 4), str(uuid4())
    before = rows(market)

    refused = [
        market.buy(market.seller, listing, 1000),
        market.buy(poor, listing, 1000, key="one"),
        market.buy(debtor, listing, 1000),
        market.buy(frozen, listing, 1000),
        market.buy(market.minters[1], listing, 999),
        market.buy(market.minters[1], unknown, 1000),
    ]

    assert [code(answer) for answer in refused] == [
        "403 listing.own",
        "409 balance.insufficient",
        "403 account.in_debt",
        "403 account.frozen",
        "409 price.changed",
        "404 not_found",
    ]
    assert (refused[1].json()["missing"], refused[4].json()["total"]) == (1, 1000)
    assert rows(market) == before
    fund(market.offering.app, poor, 1)
    assert market.buy(poor, listing, 1000, key="one").status_code == 201


def test_frozen_seller_sells_nothing(market: Market) -> None:
    listing = market.open(4, 4)
    market.freeze(market.seller)
    before = rows(market)

    assert code(market.buy(market.minters[1], listing, 1000)) == "409 listing.unavailable"

    assert rows(market) == before
    assert market.cancel(listing).status_code == 204


def test_listing_is_sold_to_one_of_many(market: Market) -> None:
    listing = market.open(1, 10)
    buyers = [market.offering.buyer() for _ in range(4)]

    answers = at_once([lambda buyer=buyer: market.buy(buyer, listing, 10_000) for buyer in buyers])  # type: ignore[misc]

    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]
    assert {code(answer) for answer in answers if answer.status_code == 409} == {"409 listing.not_open"}
    assert sum(market.balances(*buyers)) == 4 * MONEY - 10_000


def test_same_key_at_once_buys_once(market: Market) -> None:
    listing, buyer = market.open(1, 10), market.offering.buyer()

    answers = at_once([lambda: market.buy(buyer, listing, 10_000, key="one")] * 4)

    assert {answer.status_code for answer in answers} <= {201, 409}
    assert {code(each) for each in answers if each.status_code == 409} <= {"409 idempotency_key.in_progress"}
    assert market.balances(buyer)[0] == MONEY - 10_000


@pytest.mark.parametrize("total", [0, -1000, 1000.0, "1000", True, 2**53])
def test_invalid_total_is_refused(offering: Offering, total: Any) -> None:
    market = Market(offering=offering, ipo_id="", minters=[])

    assert code(market.buy(offering.artist, str(uuid4()), total)) == "422 request.invalid"


@pytest.mark.parametrize("changes", [{"unit_price": 999}, {"artist_id": UUID(int=1)}, {"quantity": 2}])
def test_parts_of_another_sale_are_refused(market: Market, changes: dict[str, Any]) -> None:
    listing, buyer = market.open(1, 1), UUID(user_id(market.minters[1]))
    before = rows(market)

    async def buy() -> None:
        async with databases.connect_pools(market.offering.app.database_url) as database:
            now = market.offering.now()
            sale = await database.fetch_one(SALE, SaleRow, listing_id=UUID(listing), now=now)
            assert sale is not None
            wrong = dataclasses.replace(sale, **changes)
            claim = make_claim(user_id=buyer, key="one", request=b"")
            async with database.transaction() as tx:
                await service.buy(tx, claim, sale=wrong, buyer_id=buyer, expected_total=1000, now=now)

    with pytest.raises(asyncpg.CheckViolationError, match="the parts are not those of the total"):
        asyncio.run(buy())
    assert rows(market) == before


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE listings SET unit_price = 1, total = 1 WHERE id = '{}'",
        "UPDATE listings SET expires_at = expires_at + interval '1 day' WHERE id = '{}'",
        "UPDATE listings SET status = 'sold' WHERE id = '{}'",
        "DELETE FROM listings WHERE id = '{}'",
    ],
)
def test_listing_is_never_edited(market: Market, statement: str) -> None:
    listing = market.open(1, 1)

    with pytest.raises(asyncpg.IntegrityConstraintViolationError):
        databases.execute(market.offering.app.database_url, statement.format(listing))
