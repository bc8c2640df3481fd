"""HTTP/1.1 as uvicorn reads it, with what it lacks: bounds on a request's head, and problems for what is no request.

Fly's proxy has bounds of its own in front of these. They are for whatever else may come to stand there.
"""

import asyncio
import logging
from typing import override
from uuid import uuid4

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from audifi.core import problems
from audifi.core.problems import Problem
from audifi.core.request_id import HEADER

logger = logging.getLogger(__name__)

HEAD_MAX_BYTES = 65536
HEAD_TIMEOUT_SECONDS = 15


class HttpProtocol(HttpToolsProtocol):
    """A connection. Its requests' heads, of `HEAD_MAX_BYTES` at most, must come within `HEAD_TIMEOUT_SECONDS`."""

    head_bytes = 0
    """What has come of a head that isn't complete."""
    head_timeout: asyncio.TimerHandle | None = None

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # uvicorn's has it, too
        super().connection_made(transport)
        self._expect_head()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._head_is_complete()
        super().connection_lost(exc)

    @override
    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.head_timeout:
            self.head_bytes += len(data)
        if self.head_bytes > HEAD_MAX_BYTES:
            self._refuse(problems.head_too_large())

    @override
    def on_message_begin(self) -> None:
        super().on_message_begin()
        if not self.head_timeout:
            self._expect_head()

    @override
    def on_headers_complete(self) -> None:
        self._head_is_complete()
        super().on_headers_complete()

    @override
    def send_400_response(self, msg: str) -> None:
        self._refuse(problems.not_http())

    def _expect_head(self) -> None:
        self._head_is_complete()
        self.head_timeout = self.loop.call_later(HEAD_TIMEOUT_SECONDS, self._give_up)

    def _head_is_complete(self) -> None:
        if self.head_timeout:
            self.head_timeout.cancel()
        self.head_timeout = None
        self.head_bytes = 0

    def _give_up(self) -> None:
        if self.head_bytes:
            self._refuse(problems.timeout())
        else:  # nobody is waiting for an answer
            self.transport.close()

    def _refuse(self, problem: Problem) -> None:
        """Answer and close. If that would look like the answer to an earlier request, close when it has had its own."""
        self._head_is_complete()
        self.flow.pause_reading()
        if self.transport.is_closing():
            return
        if self._is_answering():
            self.cycle.keep_alive = False
        else:
            self.transport.write(self._answer(problem))
            self.transport.close()

    def _is_answering(self) -> bool:
        """Whether answers to earlier requests are on their way, or to come."""
        if self.pipeline:
            return True
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None or cycle.response_complete:
            return False
        return cycle.response_started or not cycle.more_body

    def _answer(self, problem: Problem) -> bytes:
        name = uuid4().hex
        logger.warning("%s (request %s)", problem, name)
        answer = problems.response({"path": "", "state": {"request_id": name}}, problem)
        headers = [
            *self.server_state.default_headers,
            *answer.raw_headers,
            (HEADER.lower().encode(), name.encode()),
        ]
        return b"".join(
            [STATUS_LINE[problem.status], *(b"%s: %s\r\n" % header for header in headers), b"\r\n", bytes(answer.body)]
        )
