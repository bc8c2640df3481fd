"""A name for each request, by which an answer, its log lines and a client's own records are brought together."""

import random
import re

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from audifi.core.telemetry.logging import current_request_id

HEADER = "X-Request-ID"
RAW_HEADER = HEADER.lower().encode()
ACCEPTABLE = re.compile(r"[A-Za-z0-9._-]{1,64}")  # it goes into logs: nothing that a line, or a reader, could trip over


def request_id(of: HTTPConnection | Scope) -> str:
    """Of a request or its scope; empty if it didn't come through the middleware."""
    scope = of.scope if isinstance(of, HTTPConnection) else of
    name: str = scope.get("state", {}).get("request_id", "")
    return name


def name(scope: Scope) -> str:
    """Of X-Request-ID, if it is one, or a new one; the scope keeps it."""
    given = next((value for header, value in scope["headers"] if header == RAW_HEADER), b"").decode("latin-1")
    # No secret, so no UUID of the system's randomness, which is a system call.
    found = given if ACCEPTABLE.fullmatch(given) else f"{random.getrandbits(128):032x}"
    scope.setdefault("state", {})["request_id"] = found
    return found


class RequestIdMiddleware:
    """Takes X-Request-ID from whoever asks, if it is one, or makes one; the answer carries it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        given = name(scope)
        # Never reset: each request is a task of its own, and what the server logs after it should still have the name.
        current_request_id.set(given)

        async def send_with_id(message: Message) -> None:
            if message["type"] in {"http.response.start", "websocket.http.response.start"}:
                message["headers"].append((RAW_HEADER, given.encode()))
            await send(message)

        await self._app(scope, receive, send_with_id)
