"""Audio and covers of the demo's masters, made from their titles: a short melody, and a sun above stripes."""

import colorsys
import io
import math
import struct
import wave
import zlib
from random import Random

SAMPLE_RATE = 8000
NOTES = 8
NOTE_SECONDS = 0.25
SCALE = (0, 3, 5, 7, 10, 12)
"""Semitones of a pentatonic scale."""
ROOT_HERTZ = 220.0

SIDE = 1400
BANDS = 7
SUN_RADIUS = 430
SLICES = 10
PALETTE_SIZE = BANDS + 1


def make_audio(title: str) -> bytes:
    """Return a WAV of 2 seconds: 8 kHz, mono, 8 bits; the same for the same title."""
    random = Random(title)  # noqa: S311 - not for secrets
    samples = bytearray()
    for _ in range(NOTES):
        hertz = ROOT_HERTZ * 2 ** (random.choice(SCALE) / 12)
        length = int(SAMPLE_RATE * NOTE_SECONDS)
        samples += bytes(
            int(128 + 90 * (1 - place / length) * math.sin(2 * math.pi * hertz * place / SAMPLE_RATE))
            for place in range(length)
        )
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((1, 1, SAMPLE_RATE, 0, "NONE", ""))
        writer.writeframes(samples)
    return file.getvalue()


def make_cover(title: str) -> bytes:
    """Return a PNG of 1400 by 1400 pixels; the same for the same title."""
    hue = Random(title).random()  # noqa: S311 - not for secrets
    colours = [colorsys.hsv_to_rgb(hue + 0.25 * band / BANDS, 0.7, 0.25 + 0.5 * band / BANDS) for band in range(BANDS)]
    colours.append(colorsys.hsv_to_rgb(hue + 0.5, 0.55, 1.0))
    palette = bytes(round(255 * part) for colour in colours for part in colour)
    rows = b"".join(map(_row, range(SIDE)))
    header = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 3, 0, 0, 0)  # 8 bits for a colour of the palette
    chunks = (b"IHDR", header), (b"PLTE", palette), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(map(_chunk, *zip(*chunks, strict=True)))


def _row(y: int) -> bytes:
    band = y * BANDS // SIDE
    from_centre = y - SIDE // 2
    slice_height = SUN_RADIUS // SLICES
    is_cut = from_centre > 0 and from_centre % slice_height < from_centre * slice_height // (2 * SUN_RADIUS)
    half = 0 if is_cut else math.isqrt(max(SUN_RADIUS**2 - from_centre**2, 0))
    beside = bytes([band]) * (SIDE // 2 - half)
    return b"\0" + beside + bytes([PALETTE_SIZE - 1]) * (2 * half) + beside


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
