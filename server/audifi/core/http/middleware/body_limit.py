"""Reads request bodies before the app is called, with a maximum size and a timeout."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from fastapi.routing import iter_route_contexts
from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope

from audifi.core.http import problems

MAX_BYTES = 65536
"""For routes that don't set their own `max_body_size`."""
TIMEOUT_SECONDS = 15  # below the shutdown timeout; enough for 64 KB at 35 kbit/s
DISCARD_SECONDS = 2


class ClientDisconnectedError(Exception):
    """The client closed the connection before its body was complete."""


def has_body(headers: Mapping[bytes, bytes]) -> bool:
    return b"transfer-encoding" in headers or headers.get(b"content-length", b"0").strip(b"0") != b""


async def read_body(receive: Receive, headers: Mapping[bytes, bytes], max_bytes: int) -> bytes:
    """Read the whole body.

    Raises:
        Problem: 413, immediately if Content-Length is too large; 408 after TIMEOUT_SECONDS.
        ClientDisconnectedError: the client disconnected.
    """
    # The server lets any number of leading zeros through; int() refuses more than 4300 digits.
    declared = headers.get(b"content-length", b"").lstrip(b"0")
    if declared.isdigit() and int(declared) > max_bytes:
        raise problems.too_large()
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnectedError
                chunks.append(message.get("body", b""))
                size += len(chunks[-1])
                if size > max_bytes:
                    raise problems.too_large()
                if not message.get("more_body"):
                    return b"".join(chunks)
    except TimeoutError:
        raise problems.timeout() from None


async def discard_body(receive: Receive) -> None:
    """Read the rest of a body for a moment.

    Closing a connection while data arrives resets it, and the client may never see the response (RFC 9112, 9.6).
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(DISCARD_SECONDS):
            while (await receive()).get("more_body"):
                pass


class BodyLimits:
    """The size that a route's body may have: its `max_body_size` if it sets one, else MAX_BYTES."""

    def __init__(self, routes: Sequence[BaseRoute]) -> None:
        """
        Args:
            routes: the app's, complete by the time of the first request with a body.
        """
        self._routes = routes
        self._larger: list[Any] | None = None

    def max_bytes(self, scope: Scope) -> int:
        if self._larger is None:
            self._larger = list(_routes_with_own_limit(self._routes))
        for route in self._larger:
            if route.matches(scope)[0] is Match.FULL:
                return int(route.max_body_size)
        return MAX_BYTES


def _routes_with_own_limit(routes: Sequence[BaseRoute]) -> Iterator[Any]:
    for context in iter_route_contexts(routes):
        if getattr(context, "max_body_size", None) is not None:
            yield context
