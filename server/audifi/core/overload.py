"""How many requests are in work at a time; who comes when there are that many is sent away at once, and cheaply.

More requests at a time don't get more done: there are 15 database connections and one event loop. What is taken on
beyond waits, and in the end all wait for longer than anybody does. With a bound, whoever is served waits for as many
others at most. See docs/decisions/0019-shedding.md.
"""

import logging
import random
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from audifi.core import problems

logger = logging.getLogger(__name__)

TELL_EVERY_SECONDS = 1
RETRY_AFTER_SECONDS = (1, 5)  # spread, so that those who were sent away together don't come back together


class Overload:
    """What is in work on this machine, and what was sent away.

    Args:
        max_concurrent_requests: how many may be in work.
    """

    def __init__(self, max_concurrent_requests: int) -> None:
        self.max_concurrent_requests = max_concurrent_requests
        self.in_work = 0
        self.shed = 0
        """Since the start."""
        self._told = 0
        self._tell_at = 0.0

    def is_full(self) -> bool:
        return self.in_work >= self.max_concurrent_requests

    def count_shed(self) -> None:
        """Of many, the log tells in a line a second."""
        self.shed += 1
        if time.monotonic() >= self._tell_at:
            logger.warning("server.overloaded: %d in work; sent away: %d", self.in_work, self.shed - self._told)
            self._told, self._tell_at = self.shed, time.monotonic() + TELL_EVERY_SECONDS


class OverloadMiddleware:
    """Answers 503 when as many are in work as may be.

    A request isn't in work while it waits for its client, to send its body or to read the answer. Else one client with
    some slow connections could keep out all others.
    """

    def __init__(self, app: ASGIApp, *, overload: Overload) -> None:
        self._app = app
        self._overload = overload

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        overload = self._overload
        if overload.is_full():
            overload.count_shed()
            problem = problems.overloaded(random.randint(*RETRY_AFTER_SECONDS))  # noqa: S311 - no secret
            await problems.response(scope, problem)(scope, receive, send)
            return
        has_body = False  # once it does, `receive` waits for the client to go away, while the work goes on

        async def receive_out_of_work() -> Message:
            nonlocal has_body
            if has_body:
                return await receive()
            overload.in_work -= 1
            try:
                message = await receive()
            finally:
                overload.in_work += 1
            has_body = not message.get("more_body")
            return message

        async def send_out_of_work(message: Message) -> None:
            overload.in_work -= 1
            try:
                await send(message)
            finally:
                overload.in_work += 1

        overload.in_work += 1
        try:
            await self._app(scope, receive_out_of_work, send_out_of_work)
        finally:
            overload.in_work -= 1
