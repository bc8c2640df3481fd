"""How many requests are in work at a time; who comes when there are that many is sent away at once, and cheaply.

More requests at a time don't get more done: there are 15 database connections and one event loop. What is taken on
beyond waits, and in the end all wait for longer than anybody does. With a bound, whoever is served waits for as many
others at most. protocol.py asks for a place, before anything is done; whose body comes later, asks again when it is
there. See docs/decisions/0019-shedding.md.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from itertools import cycle

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from audifi.core.http import problems

logger = logging.getLogger(__name__)

TELL_EVERY_SECONDS = 1
RETRY_AFTER_SECONDS = range(1, 6)  # in turn, so that those who were sent away together don't come back together
REFUSALS_A_TURN = 10  # with ten times what can be done, half of that still gets done


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
        self.retry_after = cycle(RETRY_AFTER_SECONDS)
        self._to_refuse: deque[Callable[[], None]] = deque()
        self._told = 0
        self._tell_at = 0.0

    def take(self, app: ASGIApp) -> ASGIApp | None:
        """The app with a place for one request, which ends with it; None when there is none."""
        if self.in_work >= self.max_concurrent_requests:
            return None
        self.in_work += 1

        async def app_at_work(scope: Scope, receive: Receive, send: Send) -> None:
            try:
                await app(scope, receive, send)
            finally:
                self.in_work -= 1

        return app_at_work

    def shed_in_turn(self, refuse: Callable[[], None]) -> None:
        """Have it called in this turn of the loop, or in one of the next when there are many.

        Who is at work needs some turns, one for each answer of the database. If each had to go through hundreds of
        refusals, hardly anything would get done. The log tells of them in a line a second.
        """
        self.count_shed()
        self._to_refuse.append(refuse)
        if len(self._to_refuse) == 1:
            asyncio.get_running_loop().call_soon(self._refuse_some)

    def count_shed(self) -> None:
        self.shed += 1
        if time.monotonic() >= self._tell_at:
            logger.warning("server.overloaded: %d in work; sent away: %d", self.in_work, self.shed - self._told)
            self._told, self._tell_at = self.shed, time.monotonic() + TELL_EVERY_SECONDS

    def _refuse_some(self) -> None:
        some = [self._to_refuse.popleft() for _ in range(min(len(self._to_refuse), REFUSALS_A_TURN))]
        if self._to_refuse:
            asyncio.get_running_loop().call_soon(self._refuse_some)
        for refuse in some:
            refuse()


class OverloadMiddleware:
    """A request isn't in work while it waits for its client, to send its body or to read the answer.

    Else one client with some slow connections could keep out all others. When its body has come and there is no place
    any more, it is sent away.
    """

    def __init__(self, app: ASGIApp, *, overload: Overload) -> None:
        self._app = app
        self._overload = overload

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        overload = self._overload
        has_body = False  # once it does, `receive` waits for the client to go away, while the work goes on
        has_answer = False

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
            is_one_too_many = overload.in_work > overload.max_concurrent_requests
            if is_one_too_many and has_body and not has_answer and message["type"] == "http.request":
                overload.count_shed()
                raise problems.ReadingError(problems.overloaded(next(overload.retry_after)))
            return message

        async def send_out_of_work(message: Message) -> None:
            nonlocal has_answer
            has_answer = True
            overload.in_work -= 1
            try:
                await send(message)
            finally:
                overload.in_work += 1

        await self._app(scope, receive_out_of_work, send_out_of_work)
