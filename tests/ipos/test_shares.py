"""Holders, holdings, and each share's history."""

from datetime import datetime, timedelta
from typing import Any

from tests.ipos.offerings import Offering, code, post


def test_holdings_are_the_accounts_own(offering: Offering) -> None:
    offering.open()
    buyer, other = offering.buyer(), offering.buyer()
    offering.buy(buyer, 3)
    offering.buy(other, 2)
    offering.buy(buyer, 1)

    holdings = buyer.as_signed_in("GET", "/masters/holdings").json()

    assert holdings == {
        "data": [{"master_id": offering.master_id, "title": "Night drive", "shares": 4, "serials": [[1, 3], [6, 6]]}],
        "next_cursor": None,
    }
    assert offering.artist.as_signed_in("GET", "/masters/holdings").json()["data"][0]["serials"] == [[801, 1000]]


def test_buyer_lists_purchases(offering: Offering) -> None:
    offering.open(reflection_hours=1)
    buyer, other = offering.buyer(), offering.buyer()
    first, second = offering.buy(buyer, 3).json(), offering.buy(buyer, 1).json()
    offering.buy(other, 2)
    post(buyer, f"{offering.path}/purchases/{first['purchase_id']}/withdraw")

    def purchases(query: str = "") -> list[dict[str, Any]]:
        data: list[dict[str, Any]] = buyer.as_signed_in("GET", f"/masters/purchases{query}").json()["data"]
        return data

    newest, oldest = purchases()
    assert (newest["purchase_id"], newest["status"], newest["serials"]) == (second["purchase_id"], "settled", [[4, 4]])
    bought_at, until = (datetime.fromisoformat(newest[name]) for name in ("created_at", "withdrawable_until"))
    assert until - bought_at == timedelta(hours=1)
    assert (oldest["status"], oldest["withdrawable_until"], oldest["total"]) == ("withdrawn", None, 750)
    assert purchases(f"?master_id={offering.master_id}") == [newest, oldest]
    assert purchases(f"?master_id={first['purchase_id']}") == []
    offering.pass_time(buyer, hours=1)
    assert purchases()[0]["withdrawable_until"] is None


def test_holders_show_their_names_if_they_want_to(offering: Offering) -> None:
    offering.open(retained_shares=0)
    shown, hidden = offering.buyer(), offering.buyer()
    for client, name in ((shown, "Nina"), (hidden, "Otto")):
        client.as_signed_in("PATCH", "/auth/me", {"display_name": name})
        offering.buy(client, 2)
    shown.as_signed_in("PUT", "/masters/holdings/visibility", {"is_public": True})
    hidden.as_signed_in("PUT", "/masters/holdings/visibility", {"is_public": True})
    hidden.as_signed_in("PUT", "/masters/holdings/visibility", {"is_public": False})

    holders = shown.ask("GET", f"/masters/{offering.master_id}/holders").json()["data"]

    assert sorted(holders, key=str) == sorted(
        [{"display_name": "Nina", "shares": 2}, {"display_name": None, "shares": 2}], key=str
    )


def test_share_has_a_history(offering: Offering) -> None:
    offering.open(reflection_hours=1)
    buyer = offering.buyer()
    buyer.as_signed_in("PATCH", "/auth/me", {"display_name": "Nina"})
    buyer.as_signed_in("PUT", "/masters/holdings/visibility", {"is_public": True})
    purchase = offering.buy(buyer, 3).json()
    path = f"/masters/{offering.master_id}/shares"

    sold = buyer.ask("GET", f"{path}/2").json()
    post(buyer, f"{offering.path}/purchases/{purchase['purchase_id']}/withdraw")
    returned = buyer.ask("GET", f"{path}/2").json()

    assert (sold["holder"], [(each["reason"], each["price"]) for each in sold["movements"]]) == (
        "Nina",
        [("sale", 250)],
    )
    assert (returned["holder"], [each["reason"] for each in returned["movements"]]) == (None, ["withdraw", "sale"])
    assert code(buyer.ask("GET", f"{path}/4")) == "404 not_found"
    assert buyer.ask("GET", f"{path}/801").json()["movements"][0]["reason"] == "mint"


def test_unknown_offering_is_not_found(offering: Offering) -> None:
    offering.draft()

    for path in ("ipo", "holders", "shares/1"):
        assert code(offering.artist.ask("GET", f"/masters/{offering.master_id}/{path}")) == "404 not_found"
    buyer = offering.buyer()
    assert code(buyer.as_signed_in("GET", f"{offering.path}/mint-preview")) == "404 not_found"
    assert code(post(buyer, f"{offering.path}/reservations", {"quantity": 1})) == "404 not_found"
