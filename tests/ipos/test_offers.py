"""An offering before its sales."""

from datetime import timedelta
from typing import Any

import pytest

from tests.ipos.offerings import Offering, approved_master, balance, code, fund, make_admin, post
from tests.support import databases
from tests.support.clients import Client


@pytest.fixture
def stranger(offering: Offering) -> Client:
    return offering.buyer(money=1)


def test_draft_is_seen_by_its_artist_alone(offering: Offering, stranger: Client) -> None:
    drafted = offering.draft()

    assert drafted.status_code == 201, drafted.text
    assert (drafted.json()["status"], drafted.json()["offered"], drafted.json()["terms_sha256"]) == ("draft", 800, None)
    assert drafted.json()["royalty"]["minter_bps"] == [500, 300, 100]
    assert offering.get() == drafted.json()
    assert code(stranger.as_signed_in("GET", offering.path)) == "404 not_found"
    assert code(stranger.ask("GET", offering.path)) == "404 not_found"
    assert make_admin(offering.app, stranger).as_signed_in("GET", offering.path).status_code == 200


def test_master_has_one_offering_of_its_artist(offering: Offering, stranger: Client) -> None:
    assert code(post(stranger, offering.path, offering.terms())) == "404 not_found"
    offering.draft()
    assert code(offering.draft()) == "409 ipo.exists"


def test_draft_is_changed_at_the_version_that_was_read(offering: Offering, stranger: Client) -> None:
    offering.draft()
    terms = offering.terms(unit_price=300)

    changed = offering.artist.as_signed_in("PATCH", offering.path, terms, headers={"If-Match": '"1"'})
    stale = offering.artist.as_signed_in("PATCH", offering.path, terms, headers={"If-Match": '"1"'})

    assert (changed.json()["unit_price"], changed.headers["ETag"]) == (300, '"2"')
    assert code(stale) == "412 precondition.failed"
    assert code(stranger.as_signed_in("PATCH", offering.path, terms, headers={"If-Match": '"2"'})) == "404 not_found"
    offering.launch()
    refused = offering.artist.as_signed_in("PATCH", offering.path, terms, headers={"If-Match": '"4"'})
    assert code(refused) == "409 ipo.not_editable"


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"currency": "XXX"}, "/currency"),
        ({"retained_shares": 1000}, "/retained_shares"),
        ({"max_per_account": 801}, "/max_per_account"),
        ({"min_shares": 801}, "/min_shares"),
        ({"holders_bps": 9000, "total_shares": 1000}, None),
        ({"holders_bps": 9001}, "/holders_bps"),
        ({"total_shares": 0}, "/total_shares"),
        ({"total_shares": 1_000_001}, "/total_shares"),
        ({"unit_price": 0}, "/unit_price"),
        ({"unit_price": 2.5}, "/unit_price"),
        ({"unit_price": True}, "/unit_price"),
        ({"lockup_days": 731}, "/lockup_days"),
        ({"reflection_hours": 241}, "/reflection_hours"),
        ({"opens_at": "2026-01-01T00:00:00Z"}, "/opens_at"),
        ({"opens_at": "2100-01-01T00:00:00"}, "/opens_at"),
        ({"opens_at": "9999-12-30T00:00:00Z", "ends_at": "9999-12-31T00:00:00Z"}, None),
        ({"ends_at": "9999-12-31T23:00:00-23:00"}, "/ends_at"),
        ({"allowlist_until": "2100-01-01T00:00:00Z"}, "/allowlist_until"),
        ({"ends_at": "2100-01-01T00:00:00Z"}, "/ends_at"),
        ({"sold": 1}, "/sold"),
        ({"royalty": {"mode": "first_minters", "artist_bps": 1501, "minter_bps": []}}, "/royalty/first_minters"),
        ({"royalty": {"mode": "first_minters", "artist_bps": 0, "minter_bps": [1, 2]}}, "/royalty/first_minters"),
        ({"royalty": {"mode": "first_minters", "artist_bps": 1500, "minter_bps": [1000, 10]}}, "/royalty"),
        ({"royalty": {"mode": "tiers", "tiers": [[10, 1000], [None, 100]]}}, None),
        ({"royalty": {"mode": "tiers", "tiers": [[10, 1000]]}}, "/royalty/tiers"),
        ({"royalty": {"mode": "tiers", "tiers": [[10, 1000], [10, 500], [None, 100]]}}, "/royalty/tiers"),
        ({"royalty": {"mode": "tiers", "tiers": [[10, 100], [None, 500]]}}, "/royalty/tiers"),
    ],
)
def test_invalid_terms_are_refused(offering: Offering, changes: dict[str, Any], pointer: str | None) -> None:
    answer = offering.draft(**changes)

    if pointer is None:
        assert answer.status_code == 201, answer.text
    else:
        assert code(answer) == "422 request.invalid"
        assert answer.json()["errors"][0]["pointer"].startswith(pointer)


def test_launch_fixes_the_terms_and_makes_the_shares(offering: Offering) -> None:
    offering.draft()

    launched = offering.launch()

    assert (launched.status_code, launched.json()["status"]) == (200, "scheduled")
    assert len(launched.json()["terms_sha256"]) == 64
    asset = f"share:{launched.json()['id']}"
    assert balance(offering.app, offering.artist, "shares", asset) == 200
    assert code(offering.launch()) == "409 ipo.not_editable"
    master = databases.fetch_value(
        offering.app.database_url, f"SELECT status FROM masters WHERE id = '{offering.master_id}'"
    )
    assert master == "offered"
    offering.app.clock.advance(minutes=1)
    assert offering.get()["status"] == "live"


def test_launch_needs_an_approved_master_and_a_fresh_sign_in(offering: Offering) -> None:
    offering.draft()
    databases.execute(
        offering.app.database_url, f"UPDATE masters SET status = 'submitted' WHERE id = '{offering.master_id}'"
    )

    assert code(offering.launch()) == "409 master.not_approved"
    offering.app.clock.advance(minutes=6)
    assert code(offering.launch()) == "401 insufficient_user_authentication"


def test_terms_that_are_outdated_cannot_be_launched(offering: Offering) -> None:
    offering.draft()
    offering.app.clock.advance(minutes=2)

    answer = offering.launch()

    assert code(answer) == "422 request.invalid"
    assert answer.json()["errors"][0]["pointer"] == "/opens_at"


def test_artist_has_a_limit_of_live_offerings(offering: Offering, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("audifi.ipos.offers.MAX_LIVE_IPOS", 1)
    offering.open()
    other = Offering(
        app=offering.app,
        sendgrid=offering.sendgrid,
        artist=offering.artist,
        master_id=approved_master(offering.app, offering.artist),
    )
    other.draft()

    assert code(other.launch()) == "409 ipo.limit_reached"


def test_scheduled_offering_can_be_taken_back(offering: Offering) -> None:
    offering.draft()
    ipo = offering.launch().json()

    taken_back = post(offering.artist, f"{offering.path}/unlaunch")

    assert (taken_back.status_code, taken_back.json()["status"]) == (200, "draft")
    assert balance(offering.app, offering.artist, "shares", f"share:{ipo['id']}") == 0
    assert code(post(offering.artist, f"{offering.path}/unlaunch")) == "409 ipo.not_editable"
    assert offering.launch().status_code == 200
    offering.app.clock.advance(minutes=1)
    assert code(post(offering.artist, f"{offering.path}/unlaunch")) == "409 ipo.not_editable"


def test_admin_pauses_and_resumes(offering: Offering, stranger: Client) -> None:
    path = f"{offering.path}/pause"
    assert code(stranger.as_signed_in("POST", path, {"paused": True})) == "403 role.insufficient"
    admin = make_admin(offering.app, stranger)
    assert code(admin.as_signed_in("POST", path, {"paused": True})) == "404 not_found"
    offering.draft()
    assert code(admin.as_signed_in("POST", path, {"paused": True})) == "409 ipo.not_live"
    offering.launch()
    offering.app.clock.advance(minutes=1)

    assert admin.as_signed_in("POST", path, {"paused": True}).json()["status"] == "paused"
    assert admin.as_signed_in("POST", path, {"paused": True}).json()["status"] == "paused"
    assert code(offering.buy(offering.buyer())) == "409 ipo.paused"
    assert admin.as_signed_in("POST", path, {"paused": False}).json()["status"] == "live"


def test_allowlist_is_replaced_by_the_artist(offering: Offering, stranger: Client) -> None:
    path = f"{offering.path}/allowlist"
    user = stranger.as_signed_in("GET", "/auth/me").json()["id"]
    unknown = "01930b5a-7c1e-7d3f-8a52-6f0e4b9c2d17"
    until = (offering.now() + timedelta(days=1)).isoformat()
    offering.draft(allowlist_until=until)

    def replace(*users: str) -> Any:
        return offering.artist.as_signed_in("PUT", path, {"entries": [{"user_id": each} for each in users]})

    assert code(stranger.as_signed_in("PUT", path, {"entries": []})) == "404 not_found"
    assert code(replace(unknown)) == "422 request.invalid"
    assert code(replace(user, user)) == "422 request.invalid"
    assert [replace(user).status_code, replace(user).status_code, replace().status_code] == [204, 204, 204]
    offering.launch()
    assert replace(user).status_code == 204
    offering.app.clock.advance(minutes=1)
    assert offering.buy(fund(offering.app, stranger, 10_000)).status_code == 201
    assert post(offering.artist, f"{offering.path}/complete").status_code == 200
    assert code(replace()) == "409 ipo.not_live"


def test_preview_says_what_a_purchase_would_be(offering: Offering, stranger: Client) -> None:
    until = (offering.now() + timedelta(days=1)).isoformat()
    offering.draft(allowlist_until=until, max_per_account=100)
    user = stranger.as_signed_in("GET", "/auth/me").json()["id"]
    offering.artist.as_signed_in("PUT", f"{offering.path}/allowlist", {"entries": [{"user_id": user, "cap": 50}]})
    offering.launch()
    preview = f"{offering.path}/mint-preview"

    assert code(offering.buyer().as_signed_in("GET", preview)) == "403 ipo.allowlist_only"
    assert stranger.as_signed_in("GET", f"{preview}?quantity=10").json() == {
        "quantity": 10,
        "unit_price": 250,
        "total": 2500,
        "currency": "USD",
        "available": 800,
        "remaining_cap": 50,
        "next_serial": 1,
        "minter_rank": 1,
    }
