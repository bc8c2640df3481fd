"""No body is read that is longer, or comes more slowly, than any route has use for.

Starlette's own RequestBodyLimitMiddleware looks at Content-Length when the route reads the body, or answers: a route
that doesn't read it has done its work by then. Here nothing is done.
"""

import asyncio
from contextlib import suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from audifi.core.http import problems

MAX_BYTES = 65536
TIMEOUT_SECONDS = 15  # under what a stop waits for requests; 64 KB come at 35 kbit/s
LINGER_SECONDS = 2


class BodyLimitMiddleware:
    """Answers 413 to a body over `MAX_BYTES`: at once if Content-Length says so, else when that many have come.

    And 408 to one that isn't there `TIMEOUT_SECONDS` after it was first wanted.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        received = 0
        complete = refused = False
        deadline: float | None = None  # from when it is first wanted

        async def receive_bounded() -> Message:
            nonlocal received, complete, refused, deadline
            if complete:
                return await receive()
            deadline = deadline or asyncio.get_running_loop().time() + TIMEOUT_SECONDS
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                refused = True
                raise problems.ReadingError(problems.timeout()) from None
            received += len(message.get("body", b""))
            complete = not message.get("more_body")
            if received > MAX_BYTES:
                refused = True
                raise problems.ReadingError(problems.too_large())
            return message

        async def send_and_linger(message: Message) -> None:
            """Closing while bytes come in resets the connection, and the client may never see the answer.

            So the answer goes out whole, and then, for a moment, what comes in is dropped (RFC 9112, 9.6).
            """
            is_last = message["type"] == "http.response.body" and not message.get("more_body")
            if is_last and refused:
                await send({**message, "more_body": True})
                await _drop_rest(receive)
                message = {"type": "http.response.body", "body": b""}
            await send(message)

        # The server lets any number of leading zeros through; int() doesn't take more than 4300 digits.
        declared = dict(scope["headers"]).get(b"content-length", b"").lstrip(b"0")
        if declared.isdigit() and int(declared) > MAX_BYTES:
            refused = True
            await problems.response(scope, problems.too_large())(scope, receive, send_and_linger)
        else:
            await self._app(scope, receive_bounded, send_and_linger)


async def _drop_rest(receive: Receive) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(LINGER_SECONDS):
            while (await receive()).get("more_body"):
                pass
