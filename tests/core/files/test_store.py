"""The object storage: what is signed, and what its errors become."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from uuid import uuid4

import pytest

from audifi.core.files.store import ChangedFileError, FileStore, FileStoreError, MissingFileError, UploadTarget
from tests.support import patient, web

CONTENT = b"content"


def run[Result](settings: Mapping[str, str], work: Callable[[FileStore], Awaitable[Result]]) -> Result:
    """Run the work with a store that has the settings, then close it."""

    async def with_store() -> Result:
        store = FileStore(**{name.removeprefix("FILES_").lower(): value for name, value in settings.items()})
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(with_store())


async def put(store: FileStore, name: str) -> None:
    digest = hashlib.sha256(CONTENT).digest()
    target = store.sign_upload(
        name, size=len(CONTENT), sha256=digest, content_type="text/plain", lifetime=timedelta(minutes=1)
    )
    response = patient.put(target.url, content=CONTENT, headers=dict(target.headers), trust_env=False)
    assert response.status_code == 200, response.text


def test_file_is_copied_in_the_version_that_was_read(storage: Mapping[str, str]) -> None:
    first, second = f"test/{uuid4()}", f"test/{uuid4()}"

    async def work(store: FileStore) -> bytes:
        await put(store, first)
        async with store.open(first) as file:
            assert b"".join([chunk async for chunk in file.chunks]) == CONTENT
        with pytest.raises(ChangedFileError):
            await store.copy(first, second, etag='"another"')
        with pytest.raises(MissingFileError):
            async with store.open(second):
                raise AssertionError
        await store.copy(first, second, etag=file.etag)
        await store.delete(first)
        await store.delete(first)
        async with store.open(second) as file:
            return b"".join([chunk async for chunk in file.chunks])

    assert run(storage, work) == CONTENT


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"FILES_SECRET": "another"}, FileStoreError, "the storage answered 403"),
        ({"FILES_KEY_ID": "another"}, FileStoreError, "the storage answered 403"),
        ({"FILES_BUCKET": "another"}, MissingFileError, "the storage answered 404"),
        ({"FILES_ENDPOINT": "http://127.0.0.1:1"}, FileStoreError, "the storage can't be reached: ConnectError"),
    ],
)
def test_error_names_no_url(
    storage: Mapping[str, str], changes: dict[str, str], kind: type[FileStoreError], message: str
) -> None:
    with pytest.raises(kind) as raised:
        run({**storage, **changes}, lambda store: store.check())

    assert str(raised.value) == message
    assert raised.value.__cause__ is None


def test_unreachable_storage_is_an_error_while_reading(storage: Mapping[str, str]) -> None:
    async def work(store: FileStore) -> None:
        async with store.open("a"):
            raise AssertionError

    with pytest.raises(FileStoreError, match="ConnectError"):
        run({**storage, "FILES_ENDPOINT": "http://127.0.0.1:1"}, work)


def test_copy_that_fails_after_its_status_is_an_error(storage: Mapping[str, str]) -> None:
    """S3 sends the status first, and the error in the body."""

    class Handler(web.Handler):
        def do_PUT(self) -> None:
            self.reply(200, b"<Error><Code>InternalError</Code></Error>")

    with web.serving(Handler) as url, pytest.raises(FileStoreError, match="began to copy"):
        run({**storage, "FILES_ENDPOINT": url}, lambda store: store.copy("a", "b", etag='"c"'))


def test_page_of_the_frontend_may_send_a_file(storage: Mapping[str, str]) -> None:
    """The preflight request that a browser sends first (https://fetch.spec.whatwg.org/#cors-preflight-fetch)."""

    async def sign(store: FileStore) -> UploadTarget:
        return store.sign_upload("a", size=1, sha256=bytes(32), content_type="a/b", lifetime=timedelta(minutes=1))

    target = run(storage, sign)
    names = sorted(name.lower() for name in target.headers)
    headers = {
        "Origin": "http://localhost:3000",
        "Access-Control-Request-Method": "PUT",
        "Access-Control-Request-Headers": ",".join(names),
    }

    response = patient.options(target.url, headers=headers, trust_env=False)

    assert response.is_success
    assert response.headers["Access-Control-Allow-Origin"] == "http://localhost:3000"
    assert "PUT" in response.headers["Access-Control-Allow-Methods"]
    assert sorted(response.headers["Access-Control-Allow-Headers"].replace(" ", "").split(",")) == names
