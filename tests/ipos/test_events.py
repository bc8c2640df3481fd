"""The domain events of offerings and shares, which triggers record."""

import json
from typing import Any

from tests.ipos.offerings import Offering, make_admin, post
from tests.support import databases

EVENTS = """
SELECT coalesce(jsonb_agg(jsonb_build_object('kind', kind, 'payload', payload) ORDER BY xid, id), '[]')::text
FROM domain_events WHERE subject_id = $1
"""


def events(offering: Offering, ipo: dict[str, Any]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(str(databases.fetch_value(offering.app.database_url, EVENTS, ipo["id"])))
    return rows


def shares(event: dict[str, Any]) -> tuple[str, str, int, int, int]:
    payload = event["payload"]
    return event["kind"], payload["reason"], payload["first_serial"], payload["last_serial"], payload["price"]


def test_launch_and_purchases_are_events(offering: Offering) -> None:
    ipo = offering.open()
    bought = offering.buy(offering.buyer(), 10).json()
    offering.buy(offering.buyer(money=10), 10)  # refused

    launched, retained, minted = events(offering, ipo)

    assert launched == {
        "kind": "ipo.launched",
        "payload": {"master_id": ipo["master_id"], "total_shares": 1000, "terms_sha256": ipo["terms_sha256"]},
    }
    assert shares(retained) == ("share.minted", "mint", 801, 1000, 0)
    assert shares(minted) == ("share.minted", "sale", 1, 10, 2500)
    assert minted["payload"]["transfer_id"] == bought["transfer_id"]


def test_completion_mints_what_was_not_sold(offering: Offering) -> None:
    ipo = offering.open(reflection_hours=1)
    buyer = offering.buyer()
    purchase = offering.buy(buyer, 10).json()
    post(buyer, f"{offering.path}/purchases/{purchase['purchase_id']}/withdraw")
    offering.buy(buyer, 5)
    offering.pass_time(hours=1)

    assert post(offering.artist, f"{offering.path}/complete").status_code == 200

    withdrawn, sold, completed, *rest = events(offering, ipo)[3:]
    assert shares(withdrawn) == ("share.moved", "withdraw", 1, 10, 2500)
    assert shares(sold) == ("share.minted", "sale", 11, 15, 1250)
    assert completed["kind"] == "ipo.completed"
    assert sorted(map(shares, rest)) == [("share.minted", "mint", 16, 800, 0), ("share.moved", "mint", 1, 10, 0)]


def test_pause_and_unlaunch_are_events(offering: Offering) -> None:
    offering.draft()
    ipo = offering.launch().json()
    post(offering.artist, f"{offering.path}/unlaunch")
    offering.launch()
    admin = make_admin(offering.app, offering.buyer())
    admin.as_signed_in("POST", f"{offering.path}/pause", {"paused": True})

    kinds = [event["kind"] for event in events(offering, ipo) if event["kind"] != "share.minted"]

    assert kinds == ["ipo.launched", "ipo.unlaunched", "ipo.launched", "ipo.paused"]
