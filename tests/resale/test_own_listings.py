"""What an account sells, has sold and has bought, and one listing."""

from typing import Any

import pytest

from tests.ipos.offerings import code
from tests.resale.markets import Market
from tests.resale.test_listings import expire
from tests.support.clients import Client

STATUSES = ("open", "sold", "canceled", "expired")


def read(client: Client, path: str) -> Any:
    answer = client.as_signed_in("GET", path)
    assert answer.status_code == 200, answer.text
    return answer.json()


def pages(client: Client, path: str, size: int) -> list[list[Any]]:
    """Return the items page by page."""
    page = read(client, f"{path}limit={size}")
    shown = [page["data"]]
    while page["next_cursor"]:
        page = read(client, f"{path}limit={size}&cursor={page['next_cursor']}")
        shown.append(page["data"])
    return shown


@pytest.fixture
def listings(market: Market) -> dict[str, str]:
    """Return the first seller's listings by their status, the oldest first; the second account has bought one."""
    expired = market.open(1, 2)
    market.offering.pass_time(*market.minters, days=1)
    expire(market)
    sold, canceled, still_open = market.open(3, 5), market.open(6, 6), market.open(7, 10)
    assert market.buy(market.minters[1], sold, 3000).status_code == 201
    assert market.cancel(canceled).status_code == 204
    return {"expired": expired, "sold": sold, "canceled": canceled, "open": still_open}


def test_account_lists_its_listings_newest_first(market: Market, listings: dict[str, str]) -> None:
    rows = read(market.seller, "/listings")["data"]

    assert [(row["status"], row["id"]) for row in rows] == list(listings.items())[::-1]
    assert [row["serials"] for row in rows] == [[7, 10], [6, 6], [3, 5], [1, 2]]
    assert {(row["master_id"], row["title"], row["is_own"]) for row in rows} == {
        (market.offering.master_id, read(market.seller, "/masters/holdings")["data"][0]["title"], True)
    }
    assert [row["status"] for row in rows if row["sold_at"]] == ["sold"]
    assert rows[0] == market.listings()[0]


@pytest.mark.parametrize("status", STATUSES)
def test_listings_are_filtered_by_status(market: Market, listings: dict[str, str], status: str) -> None:
    rows = read(market.seller, f"/listings?status={status}")["data"]

    assert [(row["status"], row["id"]) for row in rows] == [(status, listings[status])]


def test_unknown_status_is_refused(market: Market) -> None:
    assert code(market.seller.as_signed_in("GET", "/listings?status=closed")) == "422 request.invalid"


def test_listing_has_expired_before_the_job_runs(market: Market) -> None:
    listing = market.open(1, 2)
    market.offering.pass_time(*market.minters, days=1)

    assert [row["id"] for row in read(market.seller, "/listings?status=expired")["data"]] == [listing]
    assert read(market.seller, "/listings?status=open")["data"] == []
    assert read(market.seller, f"/listings/{listing}")["status"] == "expired"
    assert code(market.minters[1].as_signed_in("GET", f"/listings/{listing}")) == "404 not_found"


def test_own_listings_are_paged(market: Market) -> None:
    listings = [market.open(serial, serial) for serial in range(1, 6)]
    for listing in listings[::2]:
        market.cancel(listing)

    shown = pages(market.seller, "/listings?", 2)
    canceled = pages(market.seller, "/listings?status=canceled&", 2)

    assert [[row["id"] for row in page] for page in shown] == [listings[:2:-1], listings[2:0:-1], listings[:1]]
    assert [[row["id"] for row in page] for page in canceled] == [[listings[4], listings[2]], [listings[0]]]
    cursor = read(market.seller, "/listings?limit=2")["next_cursor"]
    refused = market.seller.as_signed_in("GET", f"/listings?status=open&cursor={cursor}")
    assert code(refused) == "400 cursor.invalid"


@pytest.mark.usefixtures("listings")
def test_listings_and_purchases_are_their_accounts_alone(market: Market) -> None:
    third = market.minters[2]

    for path in ("/listings", "/listing-purchases"):
        assert read(third, path) == {"data": [], "next_cursor": None}
        assert market.seller.ask("GET", path).status_code == 401
    assert read(market.minters[1], "/listings")["data"] == []
    assert read(market.seller, "/listing-purchases")["data"] == []


@pytest.mark.parametrize("status", STATUSES)
def test_ended_listing_is_shown_to_its_parties(market: Market, listings: dict[str, str], status: str) -> None:
    path = f"/listings/{listings[status]}"
    listing = read(market.seller, path)
    _, buyer, stranger = market.minters

    assert listing == read(market.seller, f"/listings?status={status}")["data"][0]
    for client, is_shown in ((buyer, status in {"open", "sold"}), (stranger, status == "open")):
        answer = client.as_signed_in("GET", path)
        assert (answer.json() == listing | {"is_own": False}) == is_shown
        assert answer.status_code == (200 if is_shown else 404)
    assert market.seller.ask("GET", path).status_code == (200 if status == "open" else 404)


def test_unknown_listing_is_not_found(market: Market) -> None:
    assert code(market.seller.as_signed_in("GET", f"/listings/{market.ipo_id}")) == "404 not_found"


def test_purchases_are_listed_newest_first(market: Market) -> None:
    buyer = market.minters[1]
    older, newer = market.open(1, 2, unit_price=500), market.open(3, 3)
    for listing in (newer, older):  # the order of the listings doesn't count
        market.offering.app.clock.advance(seconds=1)
        assert market.buy(buyer, listing, 1000).status_code == 201

    first, second = (page[0] for page in pages(buyer, "/listing-purchases?", 1))

    listing = read(buyer, f"/listings/{older}")
    assert first == {
        "listing_id": older,
        "master_id": market.offering.master_id,
        "title": listing["title"],
        "serials": [1, 2],
        "quantity": 2,
        "unit_price": 500,
        "total": 1000,
        "currency": "USD",
        "bought_at": listing["sold_at"],
    }
    assert (second["listing_id"], second["serials"]) == (newer, [3, 3])
    assert second["bought_at"] < first["bought_at"]
