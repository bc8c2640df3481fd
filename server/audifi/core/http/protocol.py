"""HTTP/1.1 as uvicorn reads it, with bounds on what a connection can keep, and problems for what is no request.

Fly's proxy has bounds of its own in front of these. They are for whatever else may come to stand there.
"""

import asyncio
from collections.abc import Callable
from functools import cached_property, partial
from typing import cast, override

from starlette.types import ASGIApp, Scope
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from audifi.core.http import problems
from audifi.core.http.middleware.stack import Gate
from audifi.core.http.problems import Problem

HEAD_MAX_BYTES = 65536
HEAD_TIMEOUT_SECONDS = 15
PIPELINE_MAX_REQUESTS = 16
LINGER_SECONDS = 2


CLOSE = (b"connection", b"close")


class _RefusedError(Exception):
    """Raised while the parser calls; it comes out of the parser as its own error."""


class HttpProtocol(HttpToolsProtocol):
    """A connection. Its requests' heads, of `HEAD_MAX_BYTES` at most, must come within `HEAD_TIMEOUT_SECONDS`."""

    in_head = False
    in_message = False
    head_bytes = 0
    """Of the message that is being read: its target, its headers, its trailers, as the parser hands them over."""
    is_new = False
    """Whether it began in the last read."""
    unfinished_bytes = 0
    """What has come of its head since the read in which it began. The parser keeps a header until it has its end."""
    refusal: Problem | None = None
    """Why the parser was stopped, where it wouldn't have stopped by itself."""
    is_refused = False
    running: RequestResponseCycle | None = None
    deadline: asyncio.TimerHandle | None = None

    @cached_property
    def gate(self) -> Gate | None:
        """None where another app is served than ours."""
        return getattr(getattr(self.config.app, "state", None), "gate", None)

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # uvicorn's has it, too
        super().connection_made(transport)
        self._within(HEAD_TIMEOUT_SECONDS, self.transport.close)  # nobody waits for an answer

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._in_time()
        super().connection_lost(exc)
        self.pipeline.clear()
        self._tell_that_nobody_listens(self.running)  # uvicorn tells the newest alone

    @override
    def data_received(self, data: bytes) -> None:
        if self.is_refused:
            return
        self.is_new = False
        super().data_received(data)
        if self.in_head and not self.is_new:
            self.unfinished_bytes += len(data)
        self._look_after()

    @override
    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.in_head = self.in_message = self.is_new = True
        self.head_bytes = self.unfinished_bytes = 0
        self._within(HEAD_TIMEOUT_SECONDS, lambda: self._refuse(problems.timeout()))

    @override
    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    @override
    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value) + len(b": \r\n"))
        if self.in_head:  # not a trailer, which must not pass for a header (RFC 9110, 6.5.1)
            super().on_header(name, value)

    @override
    def on_headers_complete(self) -> None:
        self._in_time()
        self.in_head = False
        hosts = sum(name == b"host" for name, _ in self.headers)
        if hosts > 1 or (hosts == 0 and self.parser.get_http_version() == "1.1"):
            raise _RefusedError  # RFC 9112, 3.2
        if len(self.pipeline) >= PIPELINE_MAX_REQUESTS:
            raise _RefusedError
        super().on_headers_complete()

    @override
    def on_message_complete(self) -> None:
        self.in_message = False
        self._in_time()
        super().on_message_complete()

    @override
    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self.running = cycle
        scope, own = cast("Scope", cycle.scope), cast("ASGIApp", app)  # uvicorn has types of its own for them
        admitted = self.gate.admit(own, scope) if self.gate else own
        if admitted:
            super()._start_asgi_task(cycle, cast("ASGI3Application", admitted))
        elif self.gate:
            self.gate.send_away_in_turn(scope, partial(self._send_away, cycle))

    def _send_away(self, cycle: RequestResponseCycle, lines: bytes, body: bytes) -> None:
        """As `cycle.send` would, without waiting, and without a task that could."""
        if cycle.disconnected or self.transport.is_closing():
            return
        if self.flow.write_paused:  # of what was said before, the client reads nothing
            self.transport.abort()
            return
        headers = self.server_state.default_headers
        if not cycle.keep_alive and CLOSE not in headers:
            headers = [*headers, CLOSE]
        own = [b"%s: %s\r\n" % header for header in headers]
        cycle.response_started = cycle.response_complete = True
        body = b"" if cycle.scope["method"] == "HEAD" else body
        self.transport.write(b"".join([STATUS_LINE[503], *own, lines, b"\r\n", body]))
        if CLOSE in headers:
            self.transport.close()
        self.on_response_complete()

    @override
    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.pipeline:
            self.flow.pause_reading()  # uvicorn reads on, and queues without end
        elif self._is_answered():
            self._within(LINGER_SECONDS, self.transport.close)

    @override
    def _unsupported_upgrade_warning(self) -> None:
        """Nothing. Who asks for another protocol is answered by this one (RFC 9110, 7.8), and could fill the log."""

    @override
    def send_400_response(self, msg: str) -> None:
        self._refuse(self.refusal or problems.not_http())

    def _look_after(self) -> None:
        """After what has come was read."""
        if self.is_refused:
            return
        if self.unfinished_bytes > HEAD_MAX_BYTES:
            self._refuse(problems.head_too_large())
        # uvicorn takes anything for a sign of life, a blank line, too.
        elif not (self.deadline or self.timeout_keep_alive_task or self.in_message or self._is_answering()):
            self._within(HEAD_TIMEOUT_SECONDS, self.transport.close)

    def _count(self, length: int) -> None:
        self.head_bytes += length
        if self.head_bytes > HEAD_MAX_BYTES:
            self.refusal = problems.head_too_large()
            raise _RefusedError

    def _within(self, seconds: float, otherwise: Callable[[], None]) -> None:
        self._in_time()
        self.deadline = self.loop.call_later(seconds, otherwise)

    def _in_time(self) -> None:
        if self.deadline:
            self.deadline.cancel()
        self.deadline = None

    def _refuse(self, problem: Problem) -> None:
        """Answer and close. If that would look like the answer to an earlier request, close when it has had its own."""
        self._in_time()
        self.is_refused = True
        if self.transport.is_closing():
            return
        if self._is_answering():
            self.cycle.keep_alive = False
        elif self._is_answered():
            self.transport.close()
        else:
            self._tell_that_nobody_listens(self.cycle)
            self.transport.write(self._answer(problem))
            # Closing while bytes come in resets the connection, and the answer may be lost (RFC 9112, 9.6).
            self.transport.write_eof()
            self._within(LINGER_SECONDS, self.transport.close)

    @staticmethod
    def _tell_that_nobody_listens(cycle: RequestResponseCycle | None) -> None:
        if cycle is not None:
            cycle.disconnected = True
            cycle.message_event.set()

    def _is_answering(self) -> bool:
        """Whether answers to earlier requests are on their way, or to come."""
        if self.pipeline:
            return True
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None or cycle.response_complete:
            return False
        return cycle.response_started or not cycle.more_body

    def _is_answered(self) -> bool:
        """Whether what is being read is the rest of a request that has had its answer: a body that nobody wanted."""
        cycle: RequestResponseCycle | None = self.cycle
        return self.in_message and not self.in_head and cycle is not None and cycle.response_complete

    def _answer(self, problem: Problem) -> bytes:
        unknown: Scope = {"type": "http", "method": "", "path": "", "headers": []}
        answer = self.gate.refuse(unknown, problem) if self.gate else problems.response(unknown, problem)
        headers = [*self.server_state.default_headers, *answer.raw_headers]
        return b"".join(
            [STATUS_LINE[problem.status], *(b"%s: %s\r\n" % header for header in headers), b"\r\n", bytes(answer.body)]
        )
