"""Uploads to a real object storage, and links to the files."""

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from audifi.core.files.store import FileStore
from audifi.masters import jobs, uploads
from audifi.masters.limits import UPLOADS
from tests.masters import samples
from tests.masters.requests import (
    change,
    code,
    confirm,
    offer,
    read,
    register,
    register_complete,
    review,
    submit,
    suspend,
)
from tests.masters.sending import begin, complete, result, send, storage_request, unique, upload
from tests.support import databases
from tests.support.app import App
from tests.support.clients import Client


@pytest.fixture
def master_id(artist: Client) -> str:
    return register(artist)


@pytest.fixture
def files(storage: Mapping[str, str]) -> FileStore:
    return FileStore(**{name.removeprefix("FILES_").lower(): value for name, value in storage.items()})


def exists(files: FileStore, name: str) -> bool:
    return storage_request("GET", files.sign_download(name, lifetime=timedelta(minutes=1))).status_code == 200


def stored(content: bytes) -> str:
    return uploads.stored(hashlib.sha256(content).digest())


def clean_up(app: App, files: FileStore, *, hours_later: float) -> None:
    """Delete old uploads, as retention does after these hours."""

    async def run() -> None:
        async with databases.connect_pools(app.database_url) as database:
            before = datetime.now(UTC) + timedelta(hours=hours_later) - jobs.KEPT
            await jobs.delete_uploads(database, files, before=before)
        await files.close()

    asyncio.run(run())


def test_audio_and_cover_are_uploaded_and_read(artist: Client, files: FileStore, master_id: str) -> None:
    audio, cover = unique(samples.wav()), unique(samples.png())
    begun = begin(artist, master_id, audio, "audio/wav").json()
    send(begun, audio)

    assert result(artist, master_id, begun["upload_id"]) == "verified"
    assert upload(artist, master_id, cover, "image/png") == "verified"
    master = read(artist, master_id)
    assert (master["has_audio"], master["has_cover"], master["duration_seconds"]) == (True, True, samples.SECONDS)
    for kind, content, content_type in (("audio", audio, "audio/wav"), ("cover", cover, "image/png")):
        link = artist.as_signed_in("GET", f"/masters/{master_id}/{kind}").json()
        response = storage_request("GET", link["url"])
        assert (response.content, response.headers["Content-Type"]) == (content, content_type)
        assert storage_request("GET", link["url"].partition("?")[0]).status_code == 403
    assert not exists(files, uploads.incoming(UUID(begun["upload_id"])))


def test_completing_again_changes_nothing(artist: Client, master_id: str) -> None:
    content = unique(samples.png())
    begun = begin(artist, master_id, content, "image/png").json()
    assert complete(artist, master_id, begun["upload_id"]).json()["status"] == "verifying"
    failed = result(artist, master_id, begun["upload_id"])

    assert failed == "upload.unreadable"  # nothing was sent
    assert complete(artist, master_id, begun["upload_id"]).json()["failure"] == "upload.unreadable"


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "cover"},
        {"content_type": "text/html"},
        {"size": 0},
        {"size": (500 << 20) + 1},
        {"sha256": "0" * 63},
        {"sha256": "../" + "0" * 61},
        {"kind": "../cover"},
        {"name": "../../etc/passwd"},
    ],
)
def test_invalid_upload_is_refused(artist: Client, master_id: str, changes: dict[str, Any]) -> None:
    assert code(begin(artist, master_id, b"x", "audio/wav", **changes)) == "422 request.invalid"
    assert code(begin(artist, master_id, b"x", "image/png", size=(20 << 20) + 1)) == "422 request.invalid"


def test_new_audio_voids_the_confirmation_of_rights(artist: Client, admin: Client, master_id: str) -> None:
    audio, cover = unique(samples.flac()), unique(samples.webp())
    upload(artist, master_id, audio, "audio/flac")
    upload(artist, master_id, cover, "image/webp")
    confirm(artist, master_id)
    submit(artist, master_id)
    review(admin, master_id)

    assert upload(artist, master_id, unique(samples.jpeg()), "image/jpeg") == "verified"
    assert (read(artist, master_id)["status"], read(artist, master_id)["rights_confirmed_at"] is None) == (
        "draft",
        False,
    )
    assert upload(artist, master_id, audio, "audio/flac") == "verified"
    assert read(artist, master_id)["rights_confirmed_at"] is not None
    assert upload(artist, master_id, unique(samples.mp3()), "audio/mpeg") == "verified"
    assert read(artist, master_id)["rights_confirmed_at"] is None


def test_three_uploads_at_once_are_allowed(app: App, artist: Client, master_id: str) -> None:
    other = register(artist)
    begun = [begin(artist, each, b"x", "audio/wav") for each in (master_id, other, master_id)]

    assert [response.status_code for response in begun] == [201, 201, 201]
    assert code(begin(artist, master_id, b"x", "audio/wav")) == "409 upload.limit_reached"
    result(artist, master_id, begun[0].json()["upload_id"])
    assert begin(artist, other, b"x", "audio/wav").status_code == 201
    app.clock.advance(minutes=16)
    artist.refresh()
    assert begin(artist, other, b"x", "audio/wav").status_code == 201


def test_uploads_begun_at_once_keep_the_limit(artist: Client, app: App) -> None:
    masters = [register(artist) for _ in range(5)]
    user = f"SELECT FROM users WHERE id = '{artist.tokens['user']['id']}' FOR UPDATE"

    calls = [lambda each=each: begin(artist, each, b"x", "audio/wav") for each in masters]
    responses = databases.in_order(app.database_url, user, *calls)

    assert sorted(response.status_code for response in responses) == [201, 201, 201, 409, 409]


def test_uploads_a_day_are_limited(artist: Client) -> None:
    unknown = str(uuid4())
    for _ in range(UPLOADS.amount):
        assert code(begin(artist, unknown, b"x", "audio/wav")) == "404 not_found"

    assert code(begin(artist, unknown, b"x", "audio/wav")) == "429 rate_limit.exceeded"


def test_abandoned_upload_is_deleted_after_a_day(app: App, artist: Client, files: FileStore, master_id: str) -> None:
    content = unique(samples.png())
    begun = begin(artist, master_id, content, "image/png").json()
    send(begun, content)

    clean_up(app, files, hours_later=23)
    assert exists(files, uploads.incoming(UUID(begun["upload_id"])))
    clean_up(app, files, hours_later=25)
    assert not exists(files, uploads.incoming(UUID(begun["upload_id"])))
    assert code(complete(artist, master_id, begun["upload_id"])) == "404 not_found"


def test_replaced_file_is_deleted_unless_another_master_has_it(
    app: App, artist: Client, files: FileStore, master_id: str
) -> None:
    shared, replaced, kept = unique(samples.png()), unique(samples.png()), unique(samples.png())
    other = register(artist)
    upload(artist, other, shared, "image/png")
    for content in (shared, replaced, kept):
        assert upload(artist, master_id, content, "image/png") == "verified"

    clean_up(app, files, hours_later=25)

    assert [exists(files, stored(content)) for content in (shared, replaced, kept)] == [True, False, True]


def test_files_of_a_deleted_account_are_deleted(app: App, artist: Client, files: FileStore, master_id: str) -> None:
    content = unique(samples.png())
    upload(artist, master_id, content, "image/png")
    begin(artist, master_id, content, "image/png")
    assert artist.as_signed_in("DELETE", "/auth/me").status_code == 204

    clean_up(app, files, hours_later=25)

    assert not exists(files, stored(content))


def test_clean_up_waits_for_the_storage(
    app: App, caplog: pytest.LogCaptureFixture, artist: Client, master_id: str
) -> None:
    begin(artist, master_id, b"x", "audio/wav")
    away = FileStore(endpoint="http://127.0.0.1:1", bucket="audifi", key_id="a", secret="b")
    services = app.services
    app.clock.advance(hours=25)

    async def run() -> None:
        async with databases.connect_pools(app.database_url) as database:
            await jobs.clean_up(replace(services, files=away, background_database=database))

    asyncio.run(run())
    assert "uploads are kept until the next run: error=the storage can't be reached: ConnectError" in caplog.text


def test_upload_is_completed_within_an_hour(app: App, artist: Client, master_id: str) -> None:
    late, too_late = [begin(artist, master_id, b"x", "audio/wav").json()["upload_id"] for _ in range(2)]

    app.clock.advance(minutes=74)
    artist.refresh()
    assert complete(artist, master_id, late).status_code == 202
    app.clock.advance(minutes=2)
    artist.refresh()
    assert code(complete(artist, master_id, too_late)) == "409 upload.expired"


def test_master_that_is_frozen_takes_no_file(app: App, artist: Client, admin: Client) -> None:
    master_id = register_complete(app.database_url, artist, tracks=[{"title": "A", "isrc": None, "iswc": None}])
    content = unique(samples.png())
    begun = begin(artist, master_id, content, "image/png").json()
    send(begun, content)
    submit(artist, master_id)
    review(admin, master_id)
    offer(app.database_url, master_id)

    assert result(artist, master_id, begun["upload_id"]) == "master.frozen"
    assert code(begin(artist, master_id, content, "image/png")) == "409 master.frozen"
    assert code(change(artist, master_id, title="Another")) == "409 master.frozen"


def test_links_follow_who_may_see_the_master(app: App, artist: Client, admin: Client, stranger: Client) -> None:
    master_id = register_complete(app.database_url, artist, tracks=[{"title": "A", "isrc": None, "iswc": None}])

    def links(kind: str) -> list[str]:
        path = f"/masters/{master_id}/{kind}"
        responses = [
            artist.as_signed_in("GET", path),
            admin.as_signed_in("GET", path),
            stranger.as_signed_in("GET", path),
            stranger.ask("GET", path),
        ]
        return ["ok" if response.is_success else code(response) for response in responses]

    hidden = "404 not_found"
    assert links("cover") == ["ok", "ok", hidden, hidden]
    submit(artist, master_id)
    review(admin, master_id)
    offer(app.database_url, master_id)
    assert links("cover") == ["ok", "ok", "ok", "ok"]
    assert links("audio") == ["ok", "ok", "ok", "401 access_token.missing"]
    suspend(app.database_url, master_id)
    assert links("cover") == ["ok", "ok", "409 master.suspended", "409 master.suspended"]
    assert code(artist.as_signed_in("GET", f"/masters/{register(artist)}/audio")) == hidden
