"""A TCP relay in front of PostgreSQL that counts what is asked.

PostgreSQL's own counters tell of statements, not of round trips; those are what a database that isn't on the same
machine costs. A round trip is: bytes from the client, of which the last ones were followed by an answer.
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
class Counts[Result]:
    """Of some time."""

    statements: int
    """Among them BEGIN and COMMIT."""
    round_trips: int
    result: Result


class Connection:
    """What a client has sent, read as PostgreSQL's protocol (version 3.0, without TLS)."""

    def __init__(self) -> None:
        self.statements = 0
        self.round_trips = 0
        self._waits = False
        self._unread = b""
        self._started = False

    def asked(self, data: bytes) -> None:
        self._waits = True
        self._unread += data
        while self._started or len(self._unread) >= STARTUP_HEADER_BYTES:
            kind_bytes = 1 if self._started else 0  # the first messages of a connection have no type
            if len(self._unread) < kind_bytes + 4:
                return
            (length,) = struct.unpack_from("!i", self._unread, kind_bytes)
            whole = kind_bytes + length
            if len(self._unread) < whole:
                return
            message, self._unread = self._unread[:whole], self._unread[whole:]
            if self._started:
                self.statements += message[0] in STATEMENTS
            elif length > 8:
                self._started = True

    def answered(self) -> None:
        self.round_trips += self._waits
        self._waits = False


class Relay:
    """Passes bytes between a port of its own and PostgreSQL's."""

    def __init__(self, target_port: int) -> None:
        self.port = 0
        self._target_port = target_port
        self._connections: list[Connection] = []

    def during[Result](self, act: Callable[[], Result]) -> Counts[Result]:
        """What all connections together asked while `act` ran."""
        statements, round_trips = self._counts()
        result = act()
        after = self._counts()
        return Counts(after[0] - statements, after[1] - round_trips, result)

    def _counts(self) -> tuple[int, int]:
        return (
            sum(each.statements for each in self._connections),
            sum(each.round_trips for each in self._connections),
        )

    async def serve(self, started: threading.Event, stop: asyncio.Event) -> None:
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        started.set()
        await stop.wait()
        server.close()
        server.close_clients()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection()
        self._connections.append(connection)
        upstream, to_upstream = await asyncio.open_connection("127.0.0.1", self._target_port)
        there = asyncio.create_task(pass_on(reader, to_upstream, connection.asked))
        back = asyncio.create_task(pass_on(upstream, writer, lambda _: connection.answered()))
        await asyncio.wait([there, back], return_when=asyncio.FIRST_COMPLETED)
        for end in (writer, to_upstream):
            end.close()
        await asyncio.wait([there, back])


async def pass_on(source: asyncio.StreamReader, sink: asyncio.StreamWriter, see: Callable[[bytes], None]) -> None:
    with suppress(OSError):
        while data := await source.read(65536):
            see(data)
            sink.write(data)


@contextmanager
def running(target_port: int) -> Iterator[Relay]:
    """Run it in a thread, until the block ends."""
    relay = Relay(target_port)
    with in_thread(relay.serve):
        yield relay
