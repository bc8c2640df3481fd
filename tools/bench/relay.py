"""A TCP relay in front of PostgreSQL that counts statements and round trips.

PostgreSQL itself doesn't count round trips, which are the cost of a database on another machine. A round trip is bytes
from the client that are followed by an answer.
"""

import asyncio
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from tests.support.relay import in_thread

# https://www.postgresql.org/docs/16/protocol-message-formats.html: Execute, and a simple Query.
STATEMENTS = b"EQ"
STARTUP_HEADER_BYTES = 4


@dataclass(frozen=True)
class Counts:
    """What all connections together have asked so far."""

    statements: int
    """With BEGIN and COMMIT."""
    round_trips: int


class Connection:
    """Counts the messages of a client in PostgreSQL's protocol (version 3.0, without TLS)."""

    def __init__(self) -> None:
        self.statements = 0
        self.round_trips = 0
        self._awaits_answer = False
        self._unread = b""
        self._started = False

    def on_request(self, data: bytes) -> None:
        self._awaits_answer = True
        self._unread += data
        while self._started or len(self._unread) >= STARTUP_HEADER_BYTES:
            type_bytes = 1 if self._started else 0  # the first messages of a connection have no type
            if len(self._unread) < type_bytes + 4:
                return
            (length,) = struct.unpack_from("!i", self._unread, type_bytes)
            end = type_bytes + length
            if len(self._unread) < end:
                return
            message, self._unread = self._unread[:end], self._unread[end:]
            if self._started:
                self.statements += message[0] in STATEMENTS
            elif length > 8:
                self._started = True

    def on_answer(self) -> None:
        self.round_trips += self._awaits_answer
        self._awaits_answer = False


class Relay:
    """Passes bytes between its own port and PostgreSQL's."""

    def __init__(self, target_port: int) -> None:
        self.port = 0
        self._target_port = target_port
        self._connections: list[Connection] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def counts(self) -> Counts:
        return Counts(
            sum(connection.statements for connection in self._connections),
            sum(connection.round_trips for connection in self._connections),
        )

    async def serve(self, started: threading.Event, stop: asyncio.Event) -> None:
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        started.set()
        await stop.wait()
        server.close()
        server.close_clients()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve_client(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve_client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection()
        self._connections.append(connection)
        upstream, to_upstream = await asyncio.open_connection("127.0.0.1", self._target_port)
        directions = [
            asyncio.create_task(copy(reader, to_upstream, connection.on_request)),
            asyncio.create_task(copy(upstream, writer, lambda _: connection.on_answer())),
        ]
        await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
        for stream in (writer, to_upstream):
            stream.close()
        await asyncio.wait(directions)
        for stream in (writer, to_upstream):
            with suppress(OSError):
                await stream.wait_closed()


async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter, observe: Callable[[bytes], None]) -> None:
    with suppress(OSError):
        while data := await source.read(65536):
            observe(data)
            sink.write(data)


@contextmanager
def running(target_port: int) -> Iterator[Relay]:
    """Run a relay in a thread until the block ends."""
    relay = Relay(target_port)
    with in_thread(relay.serve):
        yield relay
