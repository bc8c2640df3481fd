"""What files are found to be."""

import io
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audifi.masters.media import (
    AUDIO_TYPES,
    COVER_TYPES,
    BoundedReader,
    MediaError,
    inspect_audio,
    inspect_cover,
)
from tests.masters import samples

AUDIO = {
    "audio/wav": samples.wav(),
    "audio/flac": samples.flac(),
    "audio/aiff": samples.aiff(),
    "audio/mpeg": samples.mp3(),
}
COVERS = {"image/png": samples.png(), "image/jpeg": samples.jpeg(), "image/webp": samples.webp()}


def failure(inspect: object, content: bytes, content_type: str) -> str:
    assert callable(inspect)
    with pytest.raises(MediaError) as raised:
        inspect(io.BytesIO(content), content_type)
    return raised.value.failure


@pytest.mark.parametrize("content_type", AUDIO_TYPES)
def test_audio_has_a_duration(content_type: str) -> None:
    assert inspect_audio(io.BytesIO(AUDIO[content_type]), content_type) in {samples.SECONDS, samples.SECONDS + 1}


@pytest.mark.parametrize("content_type", COVER_TYPES)
def test_cover_of_each_type_is_accepted(content_type: str) -> None:
    inspect_cover(io.BytesIO(COVERS[content_type]), content_type)


@pytest.mark.parametrize("content_type", [*AUDIO_TYPES, *COVER_TYPES])
def test_content_of_another_type_is_a_mismatch(content_type: str) -> None:
    inspect = inspect_audio if content_type in AUDIO_TYPES else inspect_cover
    for other, content in (AUDIO | COVERS).items():
        if other != content_type:
            assert failure(inspect, content, content_type) == "upload.type_mismatch"


@pytest.mark.parametrize("size", [(1399, 1399), (6001, 6001), (1400, 1401), (6000, 1400)])
def test_cover_of_wrong_dimensions_is_refused(size: tuple[int, int]) -> None:
    assert failure(inspect_cover, samples.png(*size), "image/png") == "upload.wrong_dimensions"
    inspect_cover(io.BytesIO(samples.jpeg(6000, 6000)), "image/jpeg")


@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        (b"", "audio/wav"),
        (b"<html>", "audio/wav"),
        (samples.wav()[:20], "audio/wav"),
        (samples.wav(0), "audio/wav"),
        (samples.flac(0), "audio/flac"),
        (samples.flac((1 << 36) - 1), "audio/flac"),
        (samples.flac()[:20], "audio/flac"),
        (samples.aiff()[:20], "audio/aiff"),
        (samples.mp3(1), "audio/mpeg"),
        (b"ID3" + bytes(100), "audio/mpeg"),
        (b"\xff\xfb", "audio/mpeg"),
        (samples.png(0, 0), "image/png"),
        (samples.png()[:16], "image/png"),
        (samples.jpeg()[:6], "image/jpeg"),
        (samples.webp()[:20], "image/webp"),
        (b"GIF89a", "image/png"),
    ],
)
def test_damaged_file_is_unreadable(content: bytes, content_type: str) -> None:
    inspect = inspect_audio if content_type in AUDIO_TYPES else inspect_cover

    assert failure(inspect, content, content_type) == "upload.unreadable"


def test_parser_that_reads_too_much_is_stopped() -> None:
    reader = BoundedReader(io.BytesIO(bytes(100)), max_bytes=10)
    assert (reader.read(10), reader.tell()) == (bytes(10), 10)
    with pytest.raises(MediaError):
        reader.read(1)
    with pytest.raises(MediaError):
        BoundedReader(io.BytesIO(bytes(100)), max_bytes=10).read()
    assert BoundedReader(io.BytesIO(bytes(10)), max_bytes=10).read() == bytes(10)


def test_chunk_that_claims_a_huge_size_is_not_read() -> None:
    """Here the chunk with the format has 5 MiB: it would be read as a whole."""
    chunk = b"COMM" + (5 << 20).to_bytes(4) + bytes(5 << 20)
    content = b"FORM" + (len(chunk) + 4).to_bytes(4) + b"AIFF" + chunk

    assert failure(inspect_audio, content, "audio/aiff") == "upload.unreadable"


@given(st.sampled_from(sorted((AUDIO | COVERS).items())), st.data())
def test_no_damage_causes_another_error(sample: tuple[str, bytes], data: st.DataObject) -> None:
    content_type, content = sample
    damaged = bytearray(content[:200])
    for place in data.draw(st.lists(st.integers(0, len(damaged) - 1), max_size=8)):
        damaged[place] = data.draw(st.integers(0, 255))
    inspect = inspect_audio if content_type in AUDIO_TYPES else inspect_cover
    with suppress(MediaError):
        inspect(io.BytesIO(bytes(damaged)), content_type)
