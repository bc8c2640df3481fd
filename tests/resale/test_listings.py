"""Listing shares, and taking listings back."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from audifi.ledger.jobs import expire_holds
from audifi.resale.jobs import schedules
from audifi.services import build_services
from tests.ipos.offerings import Offering, code, fund
from tests.resale.markets import Market, open_market
from tests.support import databases


def expire(market: Market) -> None:
    """Run what runs every half a minute."""

    app = market.offering.app
    services = build_services(app.services.settings, clock=app.clock)  # for this event loop

    async def run() -> None:
        async with services.background_database as database:
            for schedule in schedules(services):
                await schedule.run()
            await expire_holds(database, now=app.clock())

    asyncio.run(run())


def status(market: Market, listing: str) -> object:
    url = market.offering.app.database_url
    return databases.fetch_value(url, f"SELECT status FROM listings WHERE id = '{listing}'")


def test_listing_is_shown_to_everybody(market: Market) -> None:
    listed = market.list_shares(3, 5)

    assert listed.status_code == 201, listed.text
    shown = listed.json()
    assert (shown["serials"], shown["quantity"], shown["total"], shown["is_own"]) == ([3, 5], 3, 3000, True)
    assert market.listings() == [shown]
    anonymous = market.seller.ask("GET", market.path).json()
    assert anonymous["data"] == [shown | {"is_own": False}]


def test_listings_are_sorted_and_paged(market: Market) -> None:
    market.open(1, 1, unit_price=300)
    market.offering.app.clock.advance(seconds=1)
    market.open(2, 3, unit_price=100)
    market.offering.app.clock.advance(seconds=1)
    market.open(4, 4, unit_price=200)

    def prices(sort: str) -> list[int]:
        first = market.seller.ask("GET", f"{market.path}?sort={sort}&limit=2").json()
        second = market.seller.ask("GET", f"{market.path}?sort={sort}&limit=2&cursor={first['next_cursor']}").json()
        return [each["unit_price"] for each in first["data"] + second["data"]]

    assert prices("price") == [100, 200, 300]
    assert prices("-price") == [300, 200, 100]
    assert prices("created_at") == [300, 100, 200]
    assert prices("-created_at") == [200, 100, 300]


def test_share_is_listed_once(market: Market) -> None:
    market.open(3, 5)

    assert code(market.list_shares(5, 6)) == "409 share.listed"
    assert code(market.list_shares(1, 10)) == "409 share.listed"
    assert market.list_shares(6, 10).status_code == 201


def test_shares_of_others_cannot_be_listed(market: Market) -> None:
    for serials in ((11, 11), (9, 11), (17, 17), (1_000_000, 1_000_000)):
        assert code(market.list_shares(*serials)) == "409 share.not_held"


def test_listing_lies_in_one_lot(market: Market) -> None:
    buyer = market.minters[1]
    assert market.buy(buyer, market.open(9, 10), 2000).status_code == 201

    assert market.serials(buyer) == [[9, 10], [11, 14]]
    assert code(market.list_shares(10, 11, seller=buyer)) == "409 share.not_held"


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"serials": [2, 1]}, "/serials"),
        ({"serials": [0, 1]}, "/serials/0"),
        ({"serials": [1, 1_000_001]}, "/serials/1"),
        ({"serials": [1]}, "/serials"),
        ({"serials": [1.0, 2]}, "/serials/0"),
        ({"unit_price": 0}, "/unit_price"),
        ({"unit_price": 100_000_001}, "/unit_price"),
        ({"unit_price": "5"}, "/unit_price"),
        ({"expires_at": "2026-01-01T00:00:00Z"}, "/expires_at"),
        ({"expires_at": "2100-01-01T00:00:00Z"}, "/expires_at"),
        ({"expires_at": "2100-01-01T00:00:00"}, "/expires_at"),
        ({"seller_id": "01930b5a-7c1e-7d3f-8a52-6f0e4b9c2d17"}, "/seller_id"),
    ],
)
def test_invalid_listings_are_refused(offering: Offering, changes: dict[str, Any], pointer: str) -> None:
    refused = Market(offering=offering, ipo_id="", minters=[offering.artist]).list_shares(1, 2, **changes)

    assert code(refused) == "422 request.invalid"
    assert refused.json()["errors"][0]["pointer"].startswith(pointer)


def test_shares_are_resold_after_the_offering(offering: Offering) -> None:
    offering.draft()
    market = Market(offering=offering, ipo_id="", minters=[offering.buyer()])
    assert code(market.list_shares(1, 1)) == "404 not_found"
    assert code(market.seller.ask("GET", market.path)) == "404 not_found"
    offering.launch()
    offering.app.clock.advance(minutes=1)
    offering.buy(market.seller, 2)

    assert code(market.list_shares(1, 1)) == "409 ipo.live"


def test_locked_up_shares_cannot_be_listed(offering: Offering) -> None:
    market = open_market(offering, lockup_days=3)

    refused = market.list_shares(1, 1)
    assert code(refused) == "409 share.locked_up"
    offering.pass_time(market.seller, *market.minters, days=3)

    assert market.list_shares(1, 1).status_code == 201


def test_account_in_debt_cannot_list(market: Market) -> None:
    fund(market.offering.app, market.seller, -100, purpose="debt")

    assert code(market.list_shares(1, 1)) == "403 account.in_debt"


def test_frozen_shares_cannot_be_listed(market: Market) -> None:
    market.freeze(market.seller)

    assert code(market.list_shares(1, 1)) == "403 account.frozen"


def test_suspended_master_cannot_be_resold(market: Market) -> None:
    listing = market.open(1, 1)
    databases.execute(
        market.offering.app.database_url,
        f"UPDATE masters SET suspended_at = now() WHERE id = '{market.offering.master_id}'",
    )

    assert code(market.list_shares(2, 2)) == "409 master.suspended"
    assert code(market.buy(market.minters[1], listing, 1000)) == "409 master.suspended"
    assert market.cancel(listing).status_code == 204


def test_account_has_a_limit_of_open_listings(market: Market, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("audifi.resale.service.MAX_OPEN_LISTINGS", 2)
    market.open(1, 1)
    listing = market.open(2, 2)

    assert code(market.list_shares(3, 3)) == "409 listing.limit_reached"
    market.cancel(listing)
    assert market.list_shares(3, 3).status_code == 201


def test_canceled_listing_frees_its_shares(market: Market) -> None:
    listing = market.open(1, 10)
    stranger = market.minters[1]

    assert code(market.cancel(listing, seller=stranger)) == "404 not_found"
    assert market.cancel(listing).status_code == 204
    assert code(market.cancel(listing)) == "409 listing.not_open"
    assert code(market.buy(stranger, listing, 10_000)) == "409 listing.not_open"
    assert market.listings() == []
    assert market.list_shares(1, 10).status_code == 201


def test_expired_listing_cannot_be_bought_or_canceled(market: Market) -> None:
    listing = market.open(1, 10)
    expire(market)
    assert status(market, listing) == "open"
    market.offering.pass_time(*market.minters, days=1)

    assert market.listings() == []
    assert market.preview(listing)["status"] == "expired"
    assert code(market.buy(market.minters[1], listing, 10_000)) == "409 listing.not_open"
    assert code(market.cancel(listing)) == "409 listing.not_open"


def test_expiry_frees_the_shares(market: Market) -> None:
    listing = market.open(1, 10)
    market.offering.pass_time(*market.minters, days=1)

    expire(market)

    assert status(market, listing) == "expired"
    assert market.preview(listing)["status"] == "expired"
    assert market.list_shares(1, 10).status_code == 201


def test_same_key_lists_once(market: Market) -> None:
    expires_at = (market.offering.now() + timedelta(days=1)).isoformat()

    first, retry = (market.list_shares(1, 2, key="one", expires_at=expires_at) for _ in range(2))

    assert (retry.status_code, retry.json()) == (201, first.json())
    assert len(market.listings()) == 1
