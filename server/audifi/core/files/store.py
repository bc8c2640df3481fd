"""Object storage with S3's API: presigned URLs for clients, and the server's own transfers.

botocore signs, httpx2 transfers (docs/decisions/0036-files.md). Nothing is public: each request is signed.
"""

import base64
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    import httpx2
    from botocore.credentials import Credentials

REGION = "auto"
"""Of the signature. Tigris, R2 and SeaweedFS accept any; AWS would want the bucket's."""
REQUEST_LIFETIME = timedelta(minutes=5)
TIMEOUT_SECONDS = 30
"""For each read or write, not for a whole file."""
CHUNK_BYTES = 1 << 20
NOT_FOUND, PRECONDITION_FAILED = 404, 412


class FileStoreError(Exception):
    """The storage refused a request or couldn't be reached. The message holds no URL: its signature is a secret."""


class MissingFileError(FileStoreError):
    """There is no such file."""


class ChangedFileError(FileStoreError):
    """The file isn't the version that was read."""


@dataclass(frozen=True, kw_only=True)
class UploadTarget:
    """Where and how a client sends a file: PUT the bytes to the URL, with exactly these headers."""

    url: str
    headers: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class StoredFile:
    """A file that is being read."""

    etag: str
    """Of this version, for `copy`."""
    chunks: AsyncIterator[bytes]


class FileStore:
    """One bucket."""

    def __init__(self, *, endpoint: str, bucket: str, key_id: str, secret: str) -> None:
        """Nothing connects yet.

        Args:
            endpoint: URL of the S3 API, to which the bucket's name is appended.
            bucket: its name.
            key_id: of the access key.
            secret: of the access key.
        """
        self._url = f"{endpoint}/{bucket}"
        self._bucket = bucket
        self._key = (key_id, secret)
        self._credentials: Credentials | None = None
        self._http: httpx2.AsyncClient | None = None

    def sign_upload(
        self, name: str, *, size: int, sha256: bytes, content_type: str, lifetime: timedelta
    ) -> UploadTarget:
        """Return a URL that accepts exactly this content: its length, type and hash are signed."""
        headers = {"Content-Type": content_type, "x-amz-checksum-sha256": base64.b64encode(sha256).decode()}
        signed = headers | {"Content-Length": str(size)}  # a client's HTTP library sets it
        return UploadTarget(url=self._sign("PUT", name, headers=signed, lifetime=lifetime), headers=headers)

    def sign_download(self, name: str, *, lifetime: timedelta) -> str:
        """Return a URL from which the file can be read."""
        return self._sign("GET", name, lifetime=lifetime)

    @asynccontextmanager
    async def open(self, name: str) -> AsyncIterator[StoredFile]:
        """Read a file while the block runs.

        Raises:
            MissingFileError: there is none.
            FileStoreError: the storage can't be reached or refuses the request; also while chunks are read.
        """
        import httpx2  # noqa: PLC0415 - imported when the first file is read

        try:
            async with self._client().stream("GET", self._sign("GET", name)) as response:
                _check(response)
                yield StoredFile(etag=response.headers["ETag"], chunks=response.aiter_bytes(CHUNK_BYTES))
        except (httpx2.HTTPError, OSError) as error:
            _fail(error)

    async def copy(self, source: str, target: str, *, etag: str) -> None:
        """Copy the version of a file that was read, with its type.

        Raises:
            ChangedFileError: the source was replaced meanwhile.
            MissingFileError: the source is gone.
            FileStoreError: the storage can't be reached or refuses the request.
        """
        headers = {"x-amz-copy-source": f"/{self._bucket}/{source}", "x-amz-copy-source-if-match": etag}
        response = await self._request("PUT", target, headers)
        if b"<Error" in response.content:  # S3 answers 200 before it has copied (CopyObject, Response Elements)
            raise FileStoreError("the storage began to copy, and failed")

    async def delete(self, name: str) -> None:
        """Delete a file; it is no error if there is none.

        Raises:
            FileStoreError: the storage can't be reached or refuses the request.
        """
        await self._request("DELETE", name)

    async def check(self) -> None:
        """Ask for the list of files, as the doctor does.

        Raises:
            MissingFileError: there is no such bucket.
            FileStoreError: the storage can't be reached or refuses the key.
        """
        await self._request("GET", "", parameters={"list-type": "2", "max-keys": "1"})

    async def close(self) -> None:
        if self._http is not None:
            await self._http.aclose()

    async def _request(
        self,
        method: str,
        name: str,
        headers: Mapping[str, str] | None = None,
        parameters: Mapping[str, str] | None = None,
    ) -> "httpx2.Response":
        import httpx2  # noqa: PLC0415 - imported when the first file is read

        url = self._sign(method, name, headers=headers, parameters=parameters)
        try:
            response = await self._client().request(method, url, headers=dict(headers or {}))
        except (httpx2.HTTPError, OSError) as error:
            _fail(error)
        _check(response)
        return response

    def _sign(
        self,
        method: str,
        name: str,
        *,
        headers: Mapping[str, str] | None = None,
        parameters: Mapping[str, str] | None = None,
        lifetime: timedelta = REQUEST_LIFETIME,
    ) -> str:
        """Return a presigned URL (AWS Signature Version 4, query string); headers are signed, too."""
        # Imported when the first file is used: it takes 0.1 s and 15 MB.
        from botocore.auth import S3SigV4QueryAuth  # noqa: PLC0415
        from botocore.awsrequest import AWSRequest  # noqa: PLC0415
        from botocore.credentials import Credentials  # noqa: PLC0415

        if self._credentials is None:
            self._credentials = Credentials(*self._key)
        request = AWSRequest(method, f"{self._url}/{name}", headers=dict(headers or {}), params=dict(parameters or {}))
        S3SigV4QueryAuth(self._credentials, "s3", REGION, expires=int(lifetime.total_seconds())).add_auth(request)
        return str(request.url)

    def _client(self) -> "httpx2.AsyncClient":
        from audifi.core.http_client import open_client  # noqa: PLC0415 - imported when the first file is read

        if self._http is None:
            self._http = open_client(TIMEOUT_SECONDS)
        return self._http


def _check(response: "httpx2.Response") -> None:
    if response.is_success:
        return
    kind = {NOT_FOUND: MissingFileError, PRECONDITION_FAILED: ChangedFileError}.get(
        response.status_code, FileStoreError
    )
    raise kind(f"the storage answered {response.status_code}")


def _fail(error: Exception) -> NoReturn:
    raise FileStoreError(f"the storage can't be reached: {type(error).__name__}") from None
