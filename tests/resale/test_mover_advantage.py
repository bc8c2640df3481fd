"""What is public about the parties of resales."""

from typing import Any
from uuid import uuid4

import pytest

from tests.ipos.offerings import Offering, code
from tests.resale.markets import Market, open_market


def royalty_is_valid(offering: Offering, royalty: dict[str, Any]) -> bool:
    """Return whether an offering can have it."""
    answer = offering.draft(royalty=royalty)
    assert answer.status_code in {201, 409, 422}
    return answer.status_code != 422


def test_minters_show_their_names_if_they_want_to(market: Market) -> None:
    first, second, _ = market.minters
    for client, name in ((first, "Nina"), (second, "Otto")):
        client.as_signed_in("PATCH", "/auth/me", {"display_name": name})
    first.as_signed_in("PUT", "/masters/holdings/visibility", {"is_public": True})

    shown = first.ask("GET", f"/masters/{market.offering.master_id}/mover-advantage").json()

    assert shown == {
        "royalty": {"mode": "first_minters", "artist_bps": 1000, "minter_bps": [500, 300, 100]},
        "royalty_to_holders_bps": 0,
        "resale_fee_bps": 0,
        "minters": [
            {"rank": 1, "bps": 500, "display_name": "Nina"},
            {"rank": 2, "bps": 300, "display_name": None},
            {"rank": 3, "bps": 100, "display_name": None},
        ],
    }
    assert market.preview(market.open(1, 1))["parts"] == [
        {"role": "seller", "display_name": None, "amount": 810},
        {"role": "artist", "display_name": None, "amount": 100},
        {"role": "minter", "display_name": "Nina", "amount": 50},
        {"role": "minter", "display_name": None, "amount": 30},
        {"role": "minter", "display_name": None, "amount": 10},
        {"role": "platform", "display_name": None, "amount": 0},
    ]


@pytest.mark.parametrize(
    ("royalty", "ranks"),
    [
        ({"mode": "tiers", "tiers": [[None, 100]]}, []),
        ({"mode": "first_minters", "artist_bps": 0, "minter_bps": [10]}, [1]),
    ],
)
def test_only_paid_minters_are_named(offering: Offering, royalty: dict[str, Any], ranks: list[int]) -> None:
    market = open_market(offering, royalty=royalty)

    shown = market.seller.ask("GET", f"/masters/{offering.master_id}/mover-advantage").json()

    assert (shown["royalty"], [minter["rank"] for minter in shown["minters"]]) == (royalty, ranks)


def test_config_has_the_bounds_of_terms(offering: Offering) -> None:
    config = offering.artist.ask("GET", "/masters/mover-advantage/config").json()
    first, tiers = config["first_minters"], config["tiers"]

    assert config["default"] == {"mode": "first_minters", "artist_bps": 1000, "minter_bps": [500, 300, 100]}
    assert royalty_is_valid(offering, config["default"])
    for artist, minter, count, is_valid in (
        (first["artist_bps"]["max"], first["minter_bps"]["max"], 1, True),
        (first["artist_bps"]["max"] + 1, 0, 1, False),
        (0, first["minter_bps"]["max"] + 1, 1, False),
        (0, 1, first["minters"]["max"], True),
        (0, 1, first["minters"]["max"] + 1, False),
    ):
        royalty = {"mode": "first_minters", "artist_bps": artist, "minter_bps": [minter] * count}
        assert royalty_is_valid(offering, royalty) == is_valid
    for bps, count, is_valid in (
        (tiers["bps"]["max"], tiers["tiers"]["max"], True),
        (tiers["bps"]["min"], tiers["tiers"]["min"], True),
        (tiers["bps"]["max"] + 1, 1, False),
        (tiers["bps"]["min"] - 1, 1, False),
        (tiers["bps"]["max"], tiers["tiers"]["max"] + 1, False),
    ):
        ends = [*range(1, count), None]
        assert royalty_is_valid(offering, {"mode": "tiers", "tiers": [[end, bps] for end in ends]}) == is_valid


def test_unknown_master_has_no_mover_advantage(offering: Offering) -> None:
    path = f"/masters/{offering.master_id}/mover-advantage"
    assert code(offering.artist.ask("GET", path)) == "404 not_found"
    offering.draft()
    assert code(offering.artist.ask("GET", path)) == "404 not_found"


def test_unknown_listing_has_no_preview(offering: Offering) -> None:
    assert code(offering.artist.as_signed_in("GET", f"/listings/{uuid4()}/preview")) == "404 not_found"
