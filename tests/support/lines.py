"""The log of a server that runs as in production: a JSON object on each line."""

import json
import time
from collections.abc import Callable
from typing import Any

from tests.support.api import Api

type Line = dict[str, Any]

WAIT_SECONDS = 10
REQUESTS = "audifi.requests"


def lines(api: Api) -> list[Line]:
    """All so far; one that isn't JSON fails."""
    return [json.loads(line) for line in api.log().splitlines()]


def wait_for_line(api: Api, wanted: Callable[[Line], bool]) -> Line:
    """The first such line, which may be written when the answer has been read already."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        found = next(filter(wanted, lines(api)), None)
        if found is not None:
            return found
        assert time.monotonic() < deadline, api.log()
        time.sleep(0.02)


def wait_for_request(api: Api, name: str) -> Line:
    """The line of the request that was sent with this X-Request-ID."""
    return wait_for_line(api, lambda line: line["logger"] == REQUESTS and line["request_id"] == name)
