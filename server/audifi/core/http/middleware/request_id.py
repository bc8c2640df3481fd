"""X-Request-ID: joins a response, its log lines and the client's own records."""

import random
import re
from collections.abc import Mapping

HEADER = "X-Request-ID"
RAW_HEADER = HEADER.lower().encode()
VALID = re.compile(r"[A-Za-z0-9._-]{1,64}")  # nothing that could break a log line


def get_or_create(headers: Mapping[bytes, bytes]) -> str:
    """Return the client's request id if it is valid, else a new one."""
    value = headers.get(RAW_HEADER, b"").decode("latin-1")
    if VALID.fullmatch(value):
        return value
    return f"{random.getrandbits(128):032x}"  # no secret, so without a system call for randomness
