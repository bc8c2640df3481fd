"""Registration and metadata of masters over HTTP."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from audifi.masters.service import MAX_MASTERS
from tests.masters.requests import (
    COLLABORATOR,
    MASTER,
    TRACK,
    change,
    code,
    confirm,
    create,
    pointers,
    read,
    register,
)
from tests.support import databases
from tests.support.app import App
from tests.support.clients import Client

BASE_FIELDS = set(MASTER)


def titles(client: Client, query: str = "") -> list[str]:
    page = client.as_signed_in("GET", f"/masters{query}")
    assert page.status_code == 200, page.text
    return [master["title"] for master in page.json()["data"]]


def test_master_is_registered_as_a_draft(artist: Client) -> None:
    created = create(artist, upc="036000291452", tracks=[TRACK | {"isrc": "us-rc1-76-07839"}])

    assert created.status_code == 201
    body = created.json()
    assert {name: body[name] for name in BASE_FIELDS} == MASTER
    assert body["status"] == "draft"
    assert body["artist_id"] == artist.tokens["user"]["id"]
    assert (body["has_audio"], body["has_cover"], body["rights_confirmed_at"]) == (False, False, None)
    response = artist.as_signed_in("GET", f"/masters/{body['id']}")
    assert (response.json(), response.headers["ETag"]) == (body, '"1"')


def test_retry_registers_no_second_master(artist: Client) -> None:
    first, retry = create(artist, key="one"), create(artist, key="one")

    assert first.json() == retry.json()
    assert titles(artist) == [MASTER["title"]]


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"title": " "}, "/title"),
        ({"title": "a\u0000b"}, "/title"),
        ({"title": "a\nb"}, "/title"),
        ({"title": "gpj.\u202eexe"}, "/title"),
        ({"description": "a\u001b[2J"}, "/description"),
        ({"bpm": 301}, "/bpm"),
        ({"bpm": 1.0}, "/bpm"),
        ({"bpm": True}, "/bpm"),
        ({"release_date": 0}, "/release_date"),
        ({"release_date": "2026-01-31T00:00:00Z"}, "/release_date"),
        ({"release_date": None}, "/release_date"),
        ({"mood_tags": ["x"] * 21}, "/mood_tags"),
        ({"mood_tags": ["x" * 41]}, "/mood_tags/0"),
        ({"upc": "036000291453"}, "/upc"),
        ({"tracks": [TRACK | {"isrc": "USRC1760783"}]}, "/tracks/0/isrc"),
        ({"tracks": [TRACK | {"iswc": "T0345246802"}]}, "/tracks/0/iswc"),
        ({"tracks": [TRACK, TRACK], "type": "album"}, "/tracks"),
        ({"collaborators": [COLLABORATOR | {"split_bps": 5001}] * 2}, "/collaborators"),
        ({"collaborators": [COLLABORATOR | {"split_bps": "1"}]}, "/collaborators/0/split_bps"),
        ({"collaborators": [COLLABORATOR | {"user_id": "01930b5a-7c1e-7d3f-8a52-6f0e4b9c2d17"}]}, "/collaborators"),
        ({"status": "offered"}, "/status"),
    ],
)
def test_invalid_metadata_is_refused(artist: Client, changes: dict[str, Any], pointer: str) -> None:
    refused = create(artist, **changes)

    assert (code(refused), pointers(refused)) == ("422 request.invalid", [pointer])
    assert titles(artist) == []


def test_track_master_has_one_recording(artist: Client) -> None:
    two = [TRACK, TRACK | {"isrc": None}]

    assert code(create(artist, tracks=two)) == "422 request.invalid"
    master_id = register(artist)
    assert pointers(change(artist, master_id, tracks=two)) == ["/tracks"]
    album = read(artist, register(artist, type="album", tracks=two))
    assert album["tracks"] == two


def test_change_replaces_only_what_it_names(artist: Client, stranger: Client) -> None:
    master_id = register(artist)
    other = COLLABORATOR | {"user_id": stranger.tokens["user"]["id"], "name": "Bo"}

    changed = change(artist, master_id, bpm=None, collaborators=[other])

    assert changed.json() == read(artist, master_id) | {"bpm": None, "collaborators": [other]}
    assert changed.json()["tracks"] == [TRACK]
    assert changed.headers["ETag"] == '"2"'
    assert change(artist, master_id, bpm=None).headers["ETag"] == '"2"'


def test_stale_version_is_refused(artist: Client) -> None:
    master_id = register(artist)
    change(artist, master_id, title="First")

    assert code(change(artist, master_id, '"1"', title="Second")) == "412 precondition.failed"
    assert read(artist, master_id)["title"] == "First"


def test_of_two_changes_of_one_version_one_is_made(artist: Client) -> None:
    master_id = register(artist)

    with ThreadPoolExecutor(2) as threads:
        changes = list(threads.map(lambda title: change(artist, master_id, '"1"', title=title), ("First", "Second")))

    assert sorted(response.status_code for response in changes) == [200, 412]


def test_another_accounts_master_is_not_found(artist: Client, stranger: Client) -> None:
    master_id = register(artist)

    assert code(stranger.as_signed_in("GET", f"/masters/{master_id}")) == "404 not_found"
    assert code(stranger.ask("GET", f"/masters/{master_id}")) == "404 not_found"
    assert code(stranger.ask("GET", f"/masters/{master_id}", bearer="forged")) == "401 access_token.invalid"
    assert code(change(stranger, master_id, title="Mine")) == "404 not_found"
    assert code(confirm(stranger, master_id)) == "404 not_found"
    assert titles(stranger) == []


def test_list_is_sorted_filtered_and_paged(artist: Client) -> None:
    for title in ("a", "b", "c"):
        register(artist, title=title)

    cursor = artist.as_signed_in("GET", "/masters?limit=2&sort=created_at").json()["next_cursor"]

    assert titles(artist, "?limit=2&sort=created_at") == ["a", "b"]
    assert titles(artist, f"?limit=2&sort=created_at&cursor={cursor}") == ["c"]
    assert titles(artist, "?status=draft") == ["c", "b", "a"]
    assert titles(artist, "?status=offered") == []


def test_account_has_a_limit_of_masters(artist: Client, app: App) -> None:
    register(artist)
    databases.execute(
        app.database_url,
        f"""INSERT INTO masters (id, artist_id, type, title, description, genre, release_date, mood_tags, status,
                version, created_at)
            SELECT gen_random_uuid(), artist_id, 'album', title, description, genre, release_date, '{{}}', 'draft', 1,
                created_at
            FROM masters, generate_series(1, {MAX_MASTERS - 1}) WHERE artist_id = '{artist.tokens["user"]["id"]}'""",
    )

    assert code(create(artist)) == "409 master.limit_reached"
