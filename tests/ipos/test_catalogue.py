"""The list of all artists' offerings."""

from dataclasses import replace
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import pytest

from tests.ipos.offerings import Offering, approved_master, code, make_admin, post
from tests.support import databases


@pytest.fixture
def genre(offering: Offering) -> str:
    """A genre that no other test's masters have."""
    name = f"Genre {uuid4()}"
    set_master(offering, genre=name)
    return name


def set_master(offering: Offering, **values: str) -> None:
    changes = ", ".join(f"{name} = '{value}'" for name, value in values.items())
    databases.execute(offering.app.database_url, f"UPDATE masters SET {changes} WHERE id = '{offering.master_id}'")


def another(offering: Offering, genre: str) -> Offering:
    """Return an offering of another master of the same artist and genre, launched a minute later."""
    other = replace(offering, master_id=approved_master(offering.app, offering.artist))
    set_master(other, genre=genre)
    other.open()
    return other


def listed(offering: Offering, **query: Any) -> dict[str, Any]:
    """Return a page as an anonymous client gets it."""
    answer = offering.artist.ask("GET", f"/offerings?{urlencode(query)}")
    assert answer.status_code == 200, answer.text
    page: dict[str, Any] = answer.json()
    return page


def statuses(offering: Offering, genre: str) -> dict[str, list[str]]:
    """Return the listed statuses by the value of the filter; values that list nothing are left out."""
    values = ("scheduled", "live", "ended", "paused", "completed")
    pages = {"": listed(offering, genre=genre)} | {
        value: listed(offering, genre=genre, status=value) for value in values
    }
    return {value: [each["status"] for each in page["data"]] for value, page in pages.items() if page["data"]}


def test_offering_is_listed_with_its_artist(offering: Offering, genre: str) -> None:
    offering.artist.as_signed_in("PATCH", "/auth/me", {"display_name": "Nina"})
    offering.open(reflection_hours=1)
    buyer = offering.buyer()
    offering.buy(buyer, 3)
    returned = offering.buy(buyer, 2).json()
    post(buyer, f"{offering.path}/purchases/{returned['purchase_id']}/withdraw")
    post(buyer, f"{offering.path}/reservations", {"quantity": 4})

    (item,) = listed(offering, genre=genre)["data"]

    artist = offering.artist.tokens["user"]["id"]
    assert item["artist"] == {"id": artist, "display_name": "Nina"}
    assert (item["title"], item["type"], item["genre"]) == ("Night drive", "track", genre)
    assert (item["sold"], item["available"]) == (3, 791)
    ipo = offering.artist.ask("GET", offering.path).json()
    assert {name: item[name] for name in item.keys() & ipo.keys()} == {
        name: ipo[name]
        for name in (
            "id master_id status currency unit_price total_shares offered min_shares holders_bps sold available"
            " opens_at allowlist_until ends_at"
        ).split()
    }


def test_status_follows_the_clock(offering: Offering, genre: str) -> None:
    offering.draft()
    assert statuses(offering, genre) == {}

    offering.launch()
    assert statuses(offering, genre) == {"": ["scheduled"], "scheduled": ["scheduled"]}

    offering.app.clock.advance(minutes=1)
    assert statuses(offering, genre) == {"": ["live"], "live": ["live"]}

    offering.pass_time(days=10)
    assert statuses(offering, genre) == {"ended": ["ended"]}


def test_sold_out_offering_is_completed(offering: Offering, genre: str) -> None:
    offering.open(total_shares=1, retained_shares=0, max_per_account=1, reflection_hours=1)
    offering.buy(offering.buyer())

    assert statuses(offering, genre) == {"ended": ["ended"]}
    offering.pass_time(hours=1)
    assert post(offering.artist, f"{offering.path}/complete").status_code == 200
    assert statuses(offering, genre) == {"completed": ["completed"]}


def test_paused_or_canceled_offering_cannot_be_bought(offering: Offering, genre: str) -> None:
    offering.open()
    admin = make_admin(offering.app, offering.buyer())
    for paused, shown in ((True, {"paused": ["paused"]}), (False, {"": ["live"], "live": ["live"]})):
        admin.as_signed_in("POST", f"{offering.path}/pause", {"paused": paused})
        assert statuses(offering, genre) == shown

    assert post(offering.artist, f"{offering.path}/cancel").status_code == 202

    assert statuses(offering, genre) == {}


def test_suspended_master_is_not_listed(offering: Offering, genre: str) -> None:
    offering.open()
    set_master(offering, suspended_at=offering.now().isoformat())

    assert statuses(offering, genre) == {}


def test_pages_list_the_newest_launch_first(offering: Offering, genre: str) -> None:
    offering.open()
    launched = [offering, another(offering, genre), another(offering, genre)]
    first = listed(offering, genre=genre, limit=2)
    newest = another(offering, genre)  # shifts no page

    second = listed(offering, genre=genre, limit=2, cursor=first["next_cursor"])

    pages = [[each["master_id"] for each in page["data"]] for page in (first, second)]
    assert pages == [[launched[2].master_id, launched[1].master_id], [launched[0].master_id]]
    assert second["next_cursor"] is None
    assert listed(offering, genre=genre)["data"][0]["master_id"] == newest.master_id
    assert listed(offering)["data"]


def test_cursor_of_another_filter_is_refused(offering: Offering, genre: str) -> None:
    offering.open()
    another(offering, genre)
    cursor = listed(offering, genre=genre, limit=1)["next_cursor"]

    for query in (f"genre=House&cursor={cursor}", f"genre={genre}&status=live&cursor={cursor}", "cursor=x"):
        assert code(offering.artist.ask("GET", f"/offerings?{query}")) == "400 cursor.invalid"


@pytest.mark.parametrize("query", ["status=draft", "status=canceled", "limit=0", "limit=101", "genre=", "sort=id"])
def test_unknown_filter_is_refused(offering: Offering, query: str) -> None:
    assert code(offering.artist.ask("GET", f"/offerings?{query}")).startswith("422 ")
