"""Downloads a file that a client has uploaded, and verifies its length and hash."""

import asyncio
import hashlib
from collections.abc import Callable
from tempfile import TemporaryFile
from typing import BinaryIO

from audifi.core.files.store import FileStore

type MakeFile = Callable[[], BinaryIO]


class TooLongError(Exception):
    """The file is longer than announced."""


class HashMismatchError(Exception):
    """The file doesn't have the announced hash."""


def temporary_file() -> BinaryIO:
    """Return a file on the disk that is deleted when it is closed."""
    return TemporaryFile()


async def download(files: FileStore, name: str, file: BinaryIO, *, size: int, sha256: bytes) -> str:
    """Write the content into the file; return the version that was read (ETag).

    Raises:
        TooLongError, HashMismatchError: it isn't what was announced.
        MissingFileError: there is none.
        FileStoreError: the storage can't be reached; another attempt may succeed.
    """
    digest, length = hashlib.sha256(), 0

    def take(chunk: bytes) -> None:
        digest.update(chunk)
        file.write(chunk)

    async with files.open(name) as content:
        async for chunk in content.chunks:
            length += len(chunk)
            if length > size:
                raise TooLongError
            await asyncio.to_thread(take, chunk)
    if digest.digest() != sha256:
        raise HashMismatchError
    return content.etag
