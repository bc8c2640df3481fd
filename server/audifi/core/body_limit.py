"""No body is read that is longer than any route has use for.

Starlette's own RequestBodyLimitMiddleware looks at Content-Length when the route reads the body, or answers: a route
that doesn't read it has done its work by then. Here nothing is done.
"""

import asyncio
from contextlib import suppress

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from audifi.core import problems

MAX_BYTES = 65536
LINGER_SECONDS = 2


class BodyLimitMiddleware:
    """Answers 413 to a body over `max_bytes`: at once if Content-Length says so, else when that many have come."""

    def __init__(self, app: ASGIApp, max_bytes: int = MAX_BYTES) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        received = 0

        async def receive_counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._max_bytes:
                raise HTTPException(413)  # not a Problem: of what goes wrong with a body, FastAPI lets only these out
            return message

        async def send_and_linger(message: Message) -> None:
            """Closing while bytes come in resets the connection, and the client may never see the answer.

            So the answer goes out whole, and then, for a moment, what comes in is dropped (RFC 9112, 9.6).
            """
            is_last = message["type"] == "http.response.body" and not message.get("more_body")
            if is_last and received > self._max_bytes:
                await send({**message, "more_body": True})
                await _drop_rest(receive)
                message = {"type": "http.response.body", "body": b""}
            await send(message)

        # The server lets any number of leading zeros through; int() doesn't take more than 4300 digits.
        declared = dict(scope["headers"]).get(b"content-length", b"").lstrip(b"0")
        if declared.isdigit() and int(declared) > self._max_bytes:
            received = int(declared)
            await problems.response(scope, problems.too_large())(scope, receive, send_and_linger)
        else:
            await self._app(scope, receive_counted, send_and_linger)


async def _drop_rest(receive: Receive) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(LINGER_SECONDS):
            while (await receive()).get("more_body"):
                pass
