"""Small files of each type, made here."""

import io
import struct
import wave
import zlib

SECONDS = 3


def wav(seconds: int = SECONDS) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((1, 2, 8000, 0, "NONE", ""))
        writer.writeframes(bytes(2 * 8000 * seconds))
    return file.getvalue()


def flac(samples: int = 44100 * SECONDS) -> bytes:
    """Return the signature and STREAMINFO (RFC 9639, 8.2): 44.1 kHz, stereo, 16 bits."""
    packed = (44100 << 44) | (1 << 41) | (15 << 36) | samples
    body = struct.pack(">HH", 4096, 4096) + bytes(6) + packed.to_bytes(8) + bytes(16)
    return b"fLaC" + bytes([0x80]) + len(body).to_bytes(3) + body


def aiff(frames: int = 44100 * SECONDS) -> bytes:
    rate = struct.pack(">HQ", 16383 + 15, 44100 << 48)  # 80-bit extended
    common = b"COMM" + struct.pack(">IhIh", 18, 2, frames, 16) + rate
    sound = b"SSND" + struct.pack(">III", 8, 0, 0)
    body = b"AIFF" + common + sound
    return b"FORM" + struct.pack(">I", len(body)) + body


def mp3(frames: int = 115) -> bytes:
    """Return silent frames of MPEG 1, layer 3, with 128 kbit/s at 44.1 kHz: 1152 samples each."""
    return (b"\xff\xfb\x90\x00" + bytes(413)) * frames


def png(width: int = 1400, height: int = 1400) -> bytes:
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    end = b"IEND"
    chunks = [
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in (header, end)
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def jpeg(width: int = 1400, height: int = 1400) -> bytes:
    frame = struct.pack(">BHHB", 8, height, width, 1) + bytes([1, 0x11, 0])
    return b"\xff\xd8\xff\xc0" + struct.pack(">H", len(frame) + 2) + frame + b"\xff\xd9"


def webp(width: int = 1400, height: int = 1400) -> bytes:
    body = (
        b"VP8X"
        + struct.pack("<I", 10)
        + bytes(4)
        + (width - 1).to_bytes(3, "little")
        + (height - 1).to_bytes(3, "little")
    )
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body
