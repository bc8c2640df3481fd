"""The part of a resale's royalty that is all holders'."""

import asyncio
from typing import Any

import pytest

from audifi.dividends import distributions, resale_royalties
from tests.ipos.offerings import Offering, code, post
from tests.resale.markets import Market, open_market
from tests.support import databases
from tests.support.clients import Client


@pytest.fixture
def market(offering: Offering) -> Market:
    """A completed offering of 20 shares that gives a quarter of its royalties to its holders."""
    return open_market(offering, royalty_to_holders_bps=2500)


def pass_days(market: Market, days: int) -> None:
    """Let time pass, and run what runs every day and at record times. Sessions end after 30 days."""
    offering = market.offering
    offering.app.clock.advance(days=days)

    async def run() -> None:
        async with databases.connect_pools(offering.app.database_url) as database:
            notice = offering.app.services.settings.declare_notice
            await resale_royalties.declare_waiting(database, notice=notice, now=offering.now())
            await distributions.post_due(database, now=offering.now())

    asyncio.run(run())


def revenue(market: Market) -> dict[str, Any]:
    """Return the only revenue event of the master."""
    answer = market.offering.artist.sign_in().as_signed_in("GET", f"/dividends/revenue/{market.offering.master_id}")
    [event] = answer.json()["data"]
    return dict(event)


def claims(*clients: Client) -> list[int]:
    return [post(client.sign_in(), "/dividends/claim", {}).json()["data"][0]["amount"] for client in clients]


def sell(market: Market) -> Client:
    """Resell shares 1 to 3 for 30.09: the artist's royalty is 3.00, and the holders' part of it 0.75."""
    buyer = market.offering.buyer(money=3009)
    assert market.buy(buyer, market.open(1, 3, unit_price=1003), 3009).status_code == 201
    return buyer


def test_part_of_the_royalty_is_distributed_among_holders(market: Market) -> None:
    artist = market.offering.artist
    [before] = market.balances(artist)
    parts = market.preview(market.open(4, 6, unit_price=1003))["parts"]
    buyer = sell(market)

    assert [(part["role"], part["amount"]) for part in parts[:3]] == [
        ("seller", 2439),
        ("artist", 225),
        ("holders", 75),
    ]
    assert sum(part["amount"] for part in parts) == 3009
    assert market.balances(artist) == [before + 225]
    event = revenue(market)
    assert (event["source"], event["amount"], event["status"], event["funded_from"]) == (
        "resale_royalty",
        75,
        "funded",
        "artist",
    )
    declared = post(artist, f"/dividends/revenue/{event['id']}/process", {}).json()
    assert (declared["platform"], declared["artist"], declared["holders"]) == (0, 0, 75)
    pass_days(market, 1)
    # 3.75 for a share; the buyer has 3 of 20, the minters 7, 4 and 2, and the artist the 4 that nobody bought.
    assert claims(buyer, *market.minters, artist) == [11, 26, 15, 7, 15]


def test_holders_get_their_part_without_the_artist(market: Market) -> None:
    buyer = sell(market)
    pass_days(market, 29)
    assert revenue(market)["distribution_id"] is None

    pass_days(market, 1)
    declared = revenue(market)["distribution_id"]
    pass_days(market, 1)

    assert (revenue(market)["distribution_id"], revenue(market)["status"]) == (declared, "distributed")
    assert claims(buyer) == [11]


def test_royalties_of_holders_cannot_be_voided(market: Market) -> None:
    sell(market)
    event_id = revenue(market)["id"]

    assert code(post(market.offering.artist, f"/dividends/revenue/{event_id}/void")) == "409 revenue.not_voidable"


def test_listings_show_the_next_record_time(market: Market) -> None:
    sell(market)
    before = market.list_shares(4, 4).json()
    event_id = revenue(market)["id"]
    declared = post(market.offering.artist, f"/dividends/revenue/{event_id}/process", {}).json()

    listed = market.list_shares(5, 5).json()

    assert (before["next_record_at"], listed["next_record_at"]) == (None, declared["record_at"])
    assert {listing["next_record_at"] for listing in market.listings()} == {declared["record_at"]}
    assert market.preview(listed["id"])["next_record_at"] == declared["record_at"]
