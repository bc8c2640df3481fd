"""TCP relay in front of PostgreSQL that simulates networks: TLS, silence, dropped packets."""

import asyncio
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

SSL_REQUEST = struct.pack("!ii", 8, 80877103)
READY_FOR_QUERY = b"Z\0\0\0\5I"


class Relay:
    """Relays bytes between 127.0.0.1:port and a Unix socket. Set `silent` to drop what the server sends."""

    def __init__(self, target: Path, tls: ssl.SSLContext | None) -> None:
        self.port = 0
        self.silent = False
        self.silent_after_connecting = False
        self.encrypted_connections = 0
        self._writers: list[asyncio.StreamWriter] = []
        self._target = target
        self._tls = tls

    async def serve(self, started: threading.Event, stop: asyncio.Event) -> None:
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        started.set()
        await stop.wait()
        server.close()
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.gather(*(writer.wait_closed() for writer in self._writers), return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        with suppress(OSError, asyncio.IncompleteReadError, ssl.SSLError):
            first = await reader.readexactly(8)
            if first == SSL_REQUEST:
                writer.write(b"S" if self._tls else b"N")
                if self._tls:
                    await writer.start_tls(self._tls)
                    self.encrypted_connections += 1
                first = b""
            upstream_reader, upstream_writer = await asyncio.open_unix_connection(self._target)
            self._writers.append(upstream_writer)
            upstream_writer.write(first)
            await asyncio.wait(
                [
                    asyncio.create_task(self._pump(reader, upstream_writer)),
                    asyncio.create_task(self._pump(upstream_reader, writer, answers=True)),
                ],
                return_when=asyncio.FIRST_COMPLETED,
            )
            upstream_writer.close()
        writer.close()

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, answers: bool = False) -> None:
        with suppress(OSError, ssl.SSLError):
            while data := await source.read(65536):
                if not (answers and self.silent):
                    sink.write(data)
                    if self.silent_after_connecting and data.endswith(READY_FOR_QUERY):
                        self.silent = True


@contextmanager
def relay(socket_folder: Path, port: int, tls: ssl.SSLContext | None = None) -> Iterator[Relay]:
    """Run a relay to the server on this Unix socket in a thread while the block runs."""
    running = Relay(socket_folder / f".s.PGSQL.{port}", tls)
    with in_thread(running.serve):
        yield running


@contextmanager
def in_thread(serve: Callable[[threading.Event, asyncio.Event], Coroutine[Any, Any, None]]) -> Iterator[None]:
    """Run `serve` on an event loop in a thread. It sets the first event when ready and ends when the second is set."""
    started = threading.Event()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(serve(started, stop))

    thread = threading.Thread(target=run)
    thread.start()
    started.wait(10)
    try:
        yield
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)


@contextmanager
def dropped_packets() -> Iterator[int]:
    """Yield a port of 127.0.0.1 whose SYN packets the kernel drops, like a firewall: its accept queue is full."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port: int = listener.getsockname()[1]
        fillers = []
        for _ in range(4):
            filler = socket.socket()
            filler.settimeout(0)
            filler.connect_ex(("127.0.0.1", port))
            fillers.append(filler)
        try:
            yield port
        finally:
            for filler in fillers:
                filler.close()
