"""What the image runs: `python -m audifi.serve`."""

import asyncio
import logging
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from types import FrameType

import uvicorn
from fastapi import FastAPI

from audifi.app import create_app
from audifi.core import logs
from audifi.core.settings import Settings, SettingsError, load

logger = logging.getLogger(__name__)

ACCEPT_QUEUE_TIMEOUT_SECONDS = 2  # for a machine that is very busy; a few milliseconds is usual


class Server(uvicorn.Server):
    """Uvicorn, with an end that drops no request and exits 0."""

    def __init__(self, config: uvicorn.Config, drain_seconds: float) -> None:
        super().__init__(config)
        self._drain_seconds = drain_seconds

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no new connection, answer what is asked on those that are open, then close them.

        Uvicorn alone closes the listening socket, and the kernel resets the connections that wait in its queue; then it
        closes idle keep-alive connections, and with them the requests that are on their way. Here the queue is emptied
        first; each connection's next answer carries `Connection: close` (RFC 9112, 9.6); and only connections that stay
        silent for `drain_seconds` are closed without.
        """
        self.server_state.default_headers.append((b"connection", b"close"))
        for listener in sockets or []:
            drop_new_connections(listener)
        await self._wait_while(lambda: bool(select.select(sockets or [], [], [], 0)[0]), ACCEPT_QUEUE_TIMEOUT_SECONDS)
        for server in self.servers:
            server.close()
        await self._wait_while(lambda: bool(self.server_state.connections), self._drain_seconds)
        await super().shutdown(sockets)

    async def _wait_while(self, waiting: Callable[[], bool], timeout_seconds: float) -> None:
        """Until it is so, the time is up, or somebody is impatient (a second Ctrl-C); a moment at least."""
        deadline = time.monotonic() + timeout_seconds
        while True:
            await asyncio.sleep(0.05)
            if self.force_exit or not waiting() or time.monotonic() > deadline:
                return


def drop_new_connections(listener: socket.socket) -> None:
    """Have the kernel drop each SYN to this socket, while connections that wait in its queue can still be accepted.

    By IP_MINTTL (ip(7), Linux): only packets that have crossed no router would still be let in, and those start at 255
    hops where others start at 64. A client that is dropped tries again after a second (RFC 6298, 2.1), and by then is
    refused. A BPF filter would do it, too, but takes privileges.
    """
    if sys.platform == "linux":
        ip_minttl, most = 21, 255
        listener.setsockopt(socket.IPPROTO_IP, ip_minttl, most)


def listen(host: str, port: int) -> socket.socket:
    """Take the address, without answering on it yet.

    Raises:
        SettingsError: when it can't be had.
    """
    listener = socket.socket(socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise SettingsError(
            f"PORT: can't listen on {host}:{port}: {error.strerror}. Stop what listens there, or set PORT to another."
        ) from None
    return listener


def serve(app: FastAPI, settings: Settings, listener: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT, then raise SystemExit(0)."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _exit)  # uvicorn raises the signal again when it has stopped
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http="httptools",
        log_config=None,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=round(settings.shutdown_timeout_seconds),
    )
    Server(config, settings.shutdown_drain_seconds).run([listener])


def _exit(_number: int, _frame: FrameType | None) -> None:
    sys.exit(0)


def main() -> None:
    logs.configure()
    try:
        settings = load(Settings)
        listener = listen(settings.host, settings.port)
    except SettingsError as error:
        sys.exit(f"The server can't start.\n{error}")
    logger.info(
        "audifi %s (%s) listens on http://%s:%d", settings.version, settings.environment, settings.host, settings.port
    )
    serve(create_app(settings), settings, listener)


if __name__ == "__main__":
    main()
