"""The states of a master: who changes them, and what each refuses."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from audifi.core.http.problems import Problem
from tests.masters.requests import (
    TRACK,
    archive,
    change,
    code,
    confirm,
    create,
    offer,
    pointers,
    read,
    register,
    register_complete,
    review,
    submit,
    suspend,
)
from tests.support import databases
from tests.support.app import App
from tests.support.clients import Client
from tests.support.fixtures import StartApp
from tests.support.sendgrid import SendGrid

UNUSED_ISRC = [TRACK | {"isrc": None}]


@pytest.fixture
def submitted(app: App, artist: Client) -> str:
    master_id = register_complete(app.database_url, artist, tracks=UNUSED_ISRC)
    assert submit(artist, master_id).json()["status"] == "submitted"
    return master_id


@pytest.fixture
def approved(submitted: str, admin: Client) -> str:
    assert review(admin, submitted).json()["status"] == "approved"
    return submitted


@pytest.fixture
def offered(app: App, approved: str) -> str:
    offer(app.database_url, approved)
    return approved


def events(app: App, master_id: str) -> object:
    return databases.fetch_value(
        app.database_url,
        "SELECT string_agg(event || coalesce(': ' || detail, ''), ', ' ORDER BY id) FROM master_events"
        " WHERE master_id = $1::text::uuid",
        master_id,
    )


def new_isrc() -> str:
    return f"USRC1{uuid4().int % 10**7:07}"


def test_incomplete_master_is_refused_with_what_lacks(app: App, artist: Client) -> None:
    master_id = register(artist, tracks=[])

    refused = submit(artist, master_id)
    assert (code(refused), pointers(refused)) == ("409 master.incomplete", ["/rights", "/audio", "/cover", "/tracks"])
    complete = register_complete(app.database_url, artist)
    change(artist, complete, title="Another")
    assert pointers(submit(artist, complete)) == ["/rights"]


def test_rejected_master_becomes_a_draft_by_editing(app: App, artist: Client, admin: Client, submitted: str) -> None:
    rejected = review(admin, submitted, "The cover shows a trademark.").json()
    assert (rejected["status"], rejected["rejection_reason"]) == ("rejected", "The cover shows a trademark.")
    assert code(submit(artist, submitted)) == "409 master.not_draft"

    changed = change(artist, submitted, description="Another").json()
    assert (changed["status"], changed["rejection_reason"]) == ("draft", None)
    assert submit(artist, submitted).json()["status"] == "submitted"
    assert events(app, submitted) == "submitted, rejected: The cover shows a trademark., submitted"


def test_rejected_master_becomes_a_draft_by_confirming(artist: Client, admin: Client, submitted: str) -> None:
    review(admin, submitted, "Say that it is a license.")

    assert confirm(artist, submitted, holder="licensee").json()["status"] == "draft"


def test_approved_master_is_reviewed_again_when_edited(artist: Client, admin: Client, approved: str) -> None:
    assert change(artist, approved, genre="Ambient").json()["status"] == "draft"
    assert code(review(admin, approved)) == "409 master.not_submitted"


def test_review_of_another_version_is_refused(artist: Client, admin: Client, submitted: str) -> None:
    seen = admin.as_signed_in("GET", f"/masters/{submitted}").headers["ETag"]
    change(artist, submitted, genre="Ambient")
    submit(artist, submitted)

    assert code(review(admin, submitted, version=seen)) == "412 precondition.failed"
    assert code(review(admin, str(uuid4()))) == "404 not_found"


def test_review_needs_an_admin(artist: Client, submitted: str) -> None:
    assert code(review(artist, submitted)) == "403 role.insufficient"


@pytest.mark.parametrize(
    "body", [{"decision": "rejected"}, {"decision": "approved", "reason": "a"}, {"decision": "offered"}]
)
def test_invalid_review_is_refused(admin: Client, submitted: str, body: dict[str, Any]) -> None:
    headers = {"If-Match": '"1"'}

    refused = admin.as_signed_in("POST", f"/masters/{submitted}/review", body, headers=headers)
    assert code(refused) == "422 request.invalid"


def test_master_is_approved_at_once_without_review(
    start_app: StartApp, sendgrid: SendGrid, migrated_database_url: str
) -> None:
    app = start_app(migrated_database_url, master_review=False)
    artist = Client(app.http, sendgrid).sign_in()
    master_id = register_complete(app.database_url, artist)

    assert submit(artist, master_id).json()["status"] == "approved"
    assert events(app, master_id) == "submitted, approved: masters aren't reviewed (MASTER_REVIEW)"


def test_offered_master_is_public_and_frozen(artist: Client, stranger: Client, offered: str) -> None:
    assert stranger.ask("GET", f"/masters/{offered}").json()["status"] == "offered"
    refused = change(artist, offered, title="Another", genre="Ambient")
    assert (code(refused), pointers(refused)) == ("409 master.frozen", ["/title"])
    changed = change(artist, offered, genre="Ambient", description="Another", mood_tags=[], title="Midnight Drive")
    assert (changed.status_code, changed.json()["status"]) == (200, "offered")
    assert code(confirm(artist, offered)) == "409 master.frozen"
    assert code(submit(artist, offered)) == "409 master.not_draft"
    assert code(archive(artist, offered)) == "409 master.offered"
    assert code(change(stranger, offered, genre="Mine")) == "404 not_found"
    assert code(submit(stranger, offered)) == "404 not_found"
    assert code(archive(stranger, offered)) == "404 not_found"


def test_only_an_approved_master_is_offered(app: App, artist: Client, submitted: str) -> None:
    with pytest.raises(Problem, match=r"409 master\.not_approved"):
        offer(app.database_url, submitted)
    with pytest.raises(Problem, match="404 not_found"):
        offer(app.database_url, str(uuid4()))
    assert read(artist, submitted)["status"] == "submitted"


def test_recording_is_offered_once(app: App, artist: Client, admin: Client) -> None:
    tracks = [TRACK | {"isrc": new_isrc()}]
    first, second, late = [register_complete(app.database_url, artist, tracks=tracks) for _ in range(3)]
    for master_id in (first, second):
        submit(artist, master_id)
        review(admin, master_id)
    offer(app.database_url, first)

    with pytest.raises(Problem, match=r"409 isrc\.already_offered"):
        offer(app.database_url, second)
    assert read(artist, second)["status"] == "approved"
    assert code(submit(artist, late)) == "409 isrc.already_offered"
    assert read(artist, late)["status"] == "draft"


def test_archived_master_is_final(artist: Client, approved: str) -> None:
    assert archive(artist, approved).json()["status"] == "archived"
    assert archive(artist, approved).json()["status"] == "archived"
    assert code(change(artist, approved, genre="Ambient")) == "409 master.frozen"
    assert code(submit(artist, approved)) == "409 master.not_draft"


def test_suspended_master_refuses_everything(app: App, artist: Client, admin: Client, submitted: str) -> None:
    suspend(app.database_url, submitted)

    refused = [
        change(artist, submitted, genre="Ambient"),
        confirm(artist, submitted),
        submit(artist, submitted),
        archive(artist, submitted),
        review(admin, submitted),
    ]
    assert [code(response) for response in refused] == ["409 master.suspended"] * 5


@pytest.mark.parametrize("prepare", ["submitted", "suspended draft"])
def test_account_with_masters_under_way_is_kept(app: App, artist: Client, prepare: str) -> None:
    master_id = register_complete(app.database_url, artist)
    if prepare == "submitted":
        submit(artist, master_id)
    else:
        suspend(app.database_url, master_id)

    refused = artist.as_signed_in("DELETE", "/auth/me")
    assert code(refused) == "409 account.not_empty"
    assert read(artist, master_id)["title"] == "Midnight Drive"


def test_account_goes_after_its_masters_are_archived(artist: Client, submitted: str) -> None:
    archive(artist, submitted)

    assert artist.as_signed_in("DELETE", "/auth/me").status_code == 204


type Race = tuple[Callable[[], httpx2.Response], Callable[[], httpx2.Response]]


def test_races_are_decided_by_the_first(app: App, artist: Client, admin: Client) -> None:
    """Each pair of changes, in both orders: the second one meets the state that the first one has left."""

    def race(*calls: str) -> list[str]:
        master_id = register_complete(app.database_url, artist, tracks=UNUSED_ISRC)
        if "review" in calls:
            submit(artist, master_id)
        seen = admin.as_signed_in("GET", f"/masters/{master_id}").headers["ETag"]
        make = {
            "submit": lambda: submit(artist, master_id),
            "edit": lambda: change(artist, master_id, seen, genre="Ambient"),
            "archive": lambda: archive(artist, master_id),
            "review": lambda: review(admin, master_id, version=seen),
            "delete": lambda: artist.as_signed_in("DELETE", "/auth/me"),
        }
        lock = f"SELECT FROM masters WHERE id = '{master_id}' FOR UPDATE"
        responses = databases.in_order(app.database_url, lock, *[make[call] for call in calls])
        return ["ok" if response.is_success else code(response) for response in responses]

    assert race("submit", "edit") == ["ok", "412 precondition.failed"]
    assert race("edit", "submit") == ["ok", "ok"]
    assert race("submit", "archive") == ["ok", "ok"]
    assert race("archive", "submit") == ["ok", "409 master.not_draft"]
    assert race("submit", "submit") == ["ok", "409 master.not_draft"]
    assert race("review", "edit") == ["ok", "412 precondition.failed"]
    assert race("edit", "review") == ["ok", "409 master.not_submitted"]
    assert race("review", "archive") == ["ok", "ok"]
    assert race("archive", "review") == ["ok", "409 master.not_submitted"]
    assert race("submit", "delete") == ["ok", "409 account.not_empty"]


def test_deleted_draft_is_not_submitted(app: App, artist: Client) -> None:
    master_id = register_complete(app.database_url, artist)
    lock = f"SELECT FROM masters WHERE id = '{master_id}' FOR UPDATE"

    deleted, refused = databases.in_order(
        app.database_url,
        lock,
        lambda: artist.as_signed_in("DELETE", "/auth/me"),
        lambda: submit(artist, master_id),
    )

    assert deleted.status_code == 204
    assert code(refused) == "404 not_found"


def test_one_recording_is_offered_by_one_of_two_launches(app: App, artist: Client, admin: Client) -> None:
    tracks = [TRACK | {"isrc": new_isrc()}]
    both = [register_complete(app.database_url, artist, tracks=tracks) for _ in range(2)]
    for master_id in both:
        submit(artist, master_id)
        review(admin, master_id)

    def launch(master_id: str) -> str:
        try:
            offer(app.database_url, master_id)
        except Problem as problem:
            return problem.code
        return "offered"

    lock = f"SELECT FROM masters WHERE artist_id = '{artist.tokens['user']['id']}' FOR UPDATE"
    results = databases.in_order(app.database_url, lock, *[lambda each=each: launch(each) for each in both])

    assert sorted(results) == ["isrc.already_offered", "offered"]
    assert sorted(read(artist, each)["status"] for each in both) == ["approved", "offered"]


def test_created_master_ignores_a_status(artist: Client) -> None:
    assert code(create(artist, status="approved")) == "422 request.invalid"
