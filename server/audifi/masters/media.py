"""What a file is, by its content: type, duration of audio, dimensions of a cover.

Only headers are read, by parsers in pure Python, and a limited number of bytes: a crafted file costs neither memory nor
time. Nothing is decoded.
"""

import math
import struct
from collections.abc import Callable
from typing import BinaryIO

import imagesize
from mutagen import MutagenError
from mutagen.aiff import AIFFInfo
from mutagen.flac import StreamInfo
from mutagen.mp3 import MPEGInfo
from mutagen.wave import WaveStreamInfo

from audifi.masters.models import UploadFailure

AUDIO_TYPES = ("audio/wav", "audio/flac", "audio/aiff", "audio/mpeg")
COVER_TYPES = ("image/jpeg", "image/png", "image/webp")
MIN_COVER_PIXELS, MAX_COVER_PIXELS = 1400, 6000
MAX_DURATION_SECONDS = 24 * 3600
MAX_READ_BYTES = 4 << 20
"""Of one file; mutagen reads up to 1 MiB to find the frames of an MP3."""
HEAD_BYTES = 42
"""FLAC's signature, and the header and body of its first block (RFC 9639, 8)."""
BLOCK_BYTES = 34
PARSER_ERRORS = (MutagenError, ArithmeticError, EOFError, LookupError, OSError, TypeError, ValueError, struct.error)
"""What mutagen raises for damaged files."""


class MediaError(Exception):
    """The content isn't what was announced, or can't be used."""

    def __init__(self, failure: UploadFailure) -> None:
        super().__init__(failure)
        self.failure = failure


class BoundedReader:
    """A file of which parsers read a limited number of bytes."""

    def __init__(self, file: BinaryIO, max_bytes: int = MAX_READ_BYTES) -> None:
        self._file = file
        self._remaining = max_bytes

    def read(self, size: int = -1) -> bytes:
        """Read like a file.

        Raises:
            MediaError: too much was read, or the rest of the file is asked for and is too long.
        """
        content = self._file.read(self._remaining + 1 if size < 0 else min(size, self._remaining + 1))
        self._remaining -= len(content)
        if self._remaining < 0:
            raise MediaError("upload.unreadable")
        return content

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()


def inspect_audio(file: BinaryIO, content_type: str) -> int:
    """Return the duration in seconds, rounded up.

    Raises:
        MediaError: the content isn't audio of this type.
    """
    _check_type(file, content_type)
    try:
        length = DURATIONS[content_type](BoundedReader(file))
    except PARSER_ERRORS:
        raise MediaError("upload.unreadable") from None
    if not 0 < length <= MAX_DURATION_SECONDS:
        raise MediaError("upload.unreadable")
    return math.ceil(length)


def inspect_cover(file: BinaryIO, content_type: str) -> None:
    """Check a cover's type and dimensions.

    Raises:
        MediaError: the content isn't a square image of this type and of 1400 to 6000 pixels.
    """
    _check_type(file, content_type)
    width, height = imagesize.get(BoundedReader(file), exif_rotation=False)  # -1 if it can't be parsed
    if width <= 0 or height <= 0:
        raise MediaError("upload.unreadable")
    if width != height or not MIN_COVER_PIXELS <= width <= MAX_COVER_PIXELS:
        raise MediaError("upload.wrong_dimensions")


def detect_type(head: bytes) -> str | None:
    """Return the type by the first 12 bytes; None for any other type (https://mimesniff.spec.whatwg.org)."""
    is_frame = len(head) > 1 and head[0] == 0xFF and head[1] >= 0xE0  # noqa: PLR2004 - 11 bits of MPEG's frame sync
    match head[:4], head[8:12]:
        case (b"RIFF", b"WAVE"):
            detected: str | None = "audio/wav"
        case (b"RIFF", b"WEBP"):
            detected = "image/webp"
        case (b"FORM", b"AIFF" | b"AIFC"):
            detected = "audio/aiff"
        case (b"fLaC", _):
            detected = "audio/flac"
        case (b"\x89PNG", _):
            detected = "image/png"
        case _ if head.startswith(b"\xff\xd8\xff"):
            detected = "image/jpeg"
        case _:
            detected = "audio/mpeg" if is_frame or head.startswith(b"ID3") else None
    return detected


def _check_type(file: BinaryIO, content_type: str) -> None:
    file.seek(0)
    detected = detect_type(file.read(HEAD_BYTES))
    file.seek(0)
    if detected != content_type:
        raise MediaError("upload.type_mismatch" if detected else "upload.unreadable")


def _flac_seconds(file: BoundedReader) -> float:
    head = file.read(HEAD_BYTES)
    return float(StreamInfo(head[-BLOCK_BYTES:]).length)  # type: ignore[no-untyped-call] # mutagen's has no types


def _mpeg_seconds(file: BoundedReader) -> float:
    info = MPEGInfo(file)
    return 0.0 if info.sketchy else float(info.length)


DURATIONS: dict[str, Callable[[BoundedReader], float]] = {
    "audio/wav": lambda file: float(WaveStreamInfo(file).length),
    "audio/flac": _flac_seconds,
    "audio/aiff": lambda file: float(AIFFInfo(file).length),
    "audio/mpeg": _mpeg_seconds,
}
