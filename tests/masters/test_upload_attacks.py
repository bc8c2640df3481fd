"""Attempts to make another file a master's than the one that was verified."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from uuid import UUID

import pytest

from audifi.core.files.download import temporary_file
from audifi.core.files.store import FileStore, FileStoreError, StoredFile
from audifi.masters import uploads
from tests.masters import samples
from tests.masters.requests import code, read, register
from tests.masters.sending import begin, checksum, complete, result, send, state, storage_request, unique
from tests.support import databases
from tests.support.app import App
from tests.support.clients import Client
from tests.support.waiting import wait_until


@pytest.fixture
def master_id(artist: Client) -> str:
    return register(artist)


def settings(storage: Mapping[str, str]) -> dict[str, str]:
    return {name.removeprefix("FILES_").lower(): value for name, value in storage.items()}


def test_storage_refuses_what_was_not_signed(artist: Client, master_id: str) -> None:
    content = unique(samples.png())
    begun = begin(artist, master_id, content, "image/png").json()
    other = begin(artist, master_id, content, "image/png").json()["upload_id"]
    same_length = bytes(len(content))

    refused = [
        send(begun, content + b"x"),
        send(begun, content[:-1]),
        send(begun, same_length),
        send(begun, same_length, **{"x-amz-checksum-sha256": checksum(same_length)}),
        send(begun, content, **{"Content-Type": "text/html"}),
        send(begun | {"url": begun["url"].replace(begun["upload_id"], other)}, content),
        send(begun | {"url": begun["url"].replace("incoming/", "incoming/../sha256/")}, content),
        send(begun | {"url": begun["url"].replace("X-Amz-Expires=900", "X-Amz-Expires=9000")}, content),
        send(begun | {"url": begun["url"].partition("?")[0]}, content),
        storage_request("DELETE", begun["url"]),
    ]
    assert [response for response in refused if response.status_code < 400] == []
    assert send(begun, content).status_code == 200


def test_expired_url_is_refused(storage: Mapping[str, str]) -> None:
    files = FileStore(**settings(storage))
    target = files.sign_upload(
        "incoming/late", size=1, sha256=bytes(32), content_type="a/b", lifetime=timedelta(seconds=1)
    )

    # Until it expires, the storage refuses the content: 400.
    wait_until(
        lambda: storage_request("PUT", target.url, content=b"x", headers=dict(target.headers)).status_code == 403
    )


def test_content_that_the_storage_accepted_is_checked(
    artist: Client, storage: Mapping[str, str], master_id: str
) -> None:
    """Here the storage ignores the signed hash, length and type: the content is another one."""
    files = FileStore(**settings(storage))
    announced = unique(samples.png())
    wrong = {
        "upload.hash_mismatch": unique(samples.png()),
        "upload.too_large": announced + b"x",
        "upload.type_mismatch": unique(samples.jpeg()),
        "upload.unreadable": unique(b"<html>"),
    }
    for failure, content in wrong.items():
        is_announced = failure in {"upload.type_mismatch", "upload.unreadable"}
        begun = begin(artist, master_id, content if is_announced else announced, "image/png").json()
        other = files.sign_upload(
            uploads.incoming(UUID(begun["upload_id"])),
            size=len(content),
            sha256=hashlib.sha256(content).digest(),
            content_type="image/png",
            lifetime=timedelta(minutes=1),
        )
        assert storage_request("PUT", other.url, content=content, headers=dict(other.headers)).status_code == 200
        assert result(artist, master_id, begun["upload_id"]) == failure
    assert read(artist, master_id)["has_cover"] is False


def test_upload_of_another_account_is_not_found(artist: Client, stranger: Client, master_id: str) -> None:
    upload_id = begin(artist, master_id, b"x", "audio/wav").json()["upload_id"]
    theirs = register(stranger)

    for each in (master_id, theirs):
        path = f"/masters/{each}/upload/{upload_id}"
        assert code(stranger.as_signed_in("GET", path)) == "404 not_found"
        assert code(complete(stranger, each, upload_id)) == "404 not_found"
    assert code(begin(stranger, master_id, b"x", "audio/wav")) == "404 not_found"
    assert code(complete(artist, register(artist), upload_id)) == "404 not_found"
    assert state(artist, master_id, upload_id)["status"] == "pending"


class ReplacingStore(FileStore):
    """Here the client replaces the file after it was read and before it is copied."""

    def __init__(self, replacement: bytes, **settings: str) -> None:
        super().__init__(**settings)
        self.replacement = replacement

    @asynccontextmanager
    async def open(self, name: str) -> AsyncIterator[StoredFile]:
        async with super().open(name) as file:
            yield file
        target = self.sign_upload(
            name,
            size=len(self.replacement),
            sha256=hashlib.sha256(self.replacement).digest(),
            content_type="image/png",
            lifetime=timedelta(minutes=1),
        )
        response = storage_request("PUT", target.url, content=self.replacement, headers=dict(target.headers))
        assert response.status_code == 200


class FailingStore(FileStore):
    """Here the storage is gone after the copy."""

    async def delete(self, name: str) -> None:
        raise FileStoreError(name[:0])


def verify(app: App, files: FileStore, upload_id: str) -> None:
    """Run the job for an upload that is being verified."""

    async def run() -> None:
        async with databases.connect_pools(app.database_url) as database:
            try:
                await uploads.verify(database, files, UUID(upload_id), make_file=temporary_file)
            finally:
                await files.close()

    asyncio.run(run())


def begin_and_send(app: App, client: Client, master_id: str, content: bytes) -> str:
    """Upload a cover and mark it as complete, without the job; return its id."""
    begun = begin(client, master_id, content, "image/png").json()
    assert send(begun, content).status_code == 200
    upload_id = str(begun["upload_id"])
    databases.execute(app.database_url, f"UPDATE master_uploads SET status = 'verifying' WHERE id = '{upload_id}'")
    return upload_id


def test_file_replaced_after_it_was_read_is_refused(
    app: App, artist: Client, storage: Mapping[str, str], master_id: str
) -> None:
    upload_id = begin_and_send(app, artist, master_id, unique(samples.png()))

    verify(app, ReplacingStore(unique(b"<html>"), **settings(storage)), upload_id)

    assert state(artist, master_id, upload_id)["failure"] == "upload.hash_mismatch"
    assert read(artist, master_id)["has_cover"] is False


def test_file_sent_again_after_it_was_verified_changes_nothing(artist: Client, master_id: str) -> None:
    content = unique(samples.png())
    begun = begin(artist, master_id, content, "image/png").json()
    send(begun, content)
    assert result(artist, master_id, begun["upload_id"]) == "verified"

    assert send(begun, content).status_code == 200
    link = artist.as_signed_in("GET", f"/masters/{master_id}/cover").json()["url"]
    assert storage_request("GET", link).content == content


def test_verification_runs_twice_without_harm(
    app: App, artist: Client, storage: Mapping[str, str], master_id: str
) -> None:
    """The first run ends after the commit, before the incoming file is deleted; the second one deletes it."""
    upload_id = begin_and_send(app, artist, master_id, unique(samples.png()))
    with pytest.raises(FileStoreError):
        verify(app, FailingStore(**settings(storage)), upload_id)
    first = artist.as_signed_in("GET", f"/masters/{master_id}")

    verify(app, FileStore(**settings(storage)), upload_id)
    verify(app, FileStore(**settings(storage)), str(UUID(int=0)))

    second = artist.as_signed_in("GET", f"/masters/{master_id}")
    assert (second.headers["ETag"], second.json()) == (first.headers["ETag"], first.json())
    assert (second.headers["ETag"], second.json()["has_cover"]) == ('"2"', True)
    incoming = FileStore(**settings(storage)).sign_download(f"incoming/{upload_id}", lifetime=timedelta(minutes=1))
    assert storage_request("GET", incoming).status_code == 404


def test_two_runs_at_once_apply_one(app: App, artist: Client, storage: Mapping[str, str], master_id: str) -> None:
    upload_id = begin_and_send(app, artist, master_id, unique(samples.png()))
    lock = f"SELECT FROM masters WHERE id = '{master_id}' FOR UPDATE"

    def run() -> bool:
        with suppress(FileStoreError):
            verify(app, FailingStore(**settings(storage)), upload_id)
        return True

    assert databases.in_order(app.database_url, lock, run, run) == [True, True]
    response = artist.as_signed_in("GET", f"/masters/{master_id}")
    assert (response.headers["ETag"], response.json()["has_cover"]) == ('"2"', True)
    assert state(artist, master_id, upload_id)["status"] == "verified"


def test_run_that_comes_late_fails_nothing(
    app: App, artist: Client, storage: Mapping[str, str], master_id: str
) -> None:
    """Here another run verifies the file, and deletes the incoming one, before this run copies it."""
    upload_id = begin_and_send(app, artist, master_id, unique(samples.png()))

    class LateStore(FileStore):
        async def copy(self, source: str, target: str, *, etag: str) -> None:
            await asyncio.to_thread(verify, app, FileStore(**settings(storage)), upload_id)
            await super().copy(source, target, etag=etag)

    verify(app, LateStore(**settings(storage)), upload_id)

    assert state(artist, master_id, upload_id)["status"] == "verified"
    assert read(artist, master_id)["has_cover"] is True
