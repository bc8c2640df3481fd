"""Reads the log of a production server: one JSON object per line."""

import json
import time
from collections.abc import Callable
from typing import Any

from tests.support.api import Api

type Line = dict[str, Any]

WAIT_SECONDS = 10
REQUESTS = "audifi.requests"


def lines(api: Api) -> list[Line]:
    """Return all lines so far. Raises an error for a line that isn't JSON."""
    return [json.loads(line) for line in api.log().splitlines()]


def wait_for_line(api: Api, wanted: Callable[[Line], bool]) -> Line:
    """Return the first matching line, which may be written after the response was read."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        line = next(filter(wanted, lines(api)), None)
        if line is not None:
            return line
        assert time.monotonic() < deadline, api.log()
        time.sleep(0.02)


def wait_for_request(api: Api, name: str) -> Line:
    """Return the log line of the request with this X-Request-ID."""
    return wait_for_line(api, lambda line: line["logger"] == REQUESTS and line["request_id"] == name)
