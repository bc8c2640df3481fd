"""The server process: `python -m audifi.serve`."""

import asyncio
import errno
import gc
import logging
import math
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import override

import uvicorn
from fastapi import FastAPI

from audifi.app import create_app
from audifi.core.config.settings import Settings, SettingsError, load
from audifi.core.telemetry import logging as logs
from audifi.services import build_services

logger = logging.getLogger(__name__)

ACCEPT_QUEUE_TIMEOUT_SECONDS = 2  # to empty it on a very busy machine; a few milliseconds are usual
HANDSHAKE_SECONDS = 0.2  # for a client whose SYN arrived before the signal
EXIT_WITHIN_SECONDS = 28  # above the sum of the time limits below, and below fly.toml's kill_timeout
# Longer than proxies keep idle connections (hyper 90 s, nginx 60 s): a connection that the server closes just when the
# proxy sends a request on it loses that request.
KEEP_ALIVE_SECONDS = 100
UNREAD_TIMEOUT_SECONDS = 60  # for a client that reads nothing of its response
BACKLOG = 2048  # connections that wait to be accepted; the kernel's limit may be lower
WARNING_INTERVAL_SECONDS = 60
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
IP_MINTTL = 21  # linux/in.h; Python has no name for it


class Server(uvicorn.Server):
    """Uvicorn, with a shutdown that drops no request."""

    def __init__(self, config: uvicorn.Config, settings: Settings, exit_within_seconds: float | None) -> None:
        super().__init__(config)
        self._settings = settings
        self._exit_within_seconds = exit_within_seconds

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        settings = self._settings
        logger.info(
            "audifi %s (%s) listens on http://%s:%d",
            settings.version,
            settings.environment,
            settings.host,
            settings.port,
        )

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept no new connection, answer the requests on open ones, then close them.

        Uvicorn alone closes the listening socket, whereupon the kernel resets the connections in its queue, and closes
        idle keep-alive connections together with requests that are on their way. Here the queue is emptied first;
        responses carry `Connection: close` (RFC 9112, 9.6); and only connections that stay silent for
        SHUTDOWN_DRAIN_SECONDS are closed without one.
        """
        if self._exit_within_seconds:
            exit_after(self._exit_within_seconds)
        self.server_state.default_headers.append((b"connection", b"close"))
        for listener in sockets or []:
            drop_new_connections(listener)
        await asyncio.sleep(HANDSHAKE_SECONDS)
        await self._wait_while(lambda: bool(select.select(sockets or [], [], [], 0)[0]), ACCEPT_QUEUE_TIMEOUT_SECONDS)
        for server in self.servers:
            server.close()
        for connection in self.server_state.connections:
            hear_again(connection.transport.get_extra_info("socket"))
        await self._wait_while(lambda: bool(self.server_state.connections), self._settings.shutdown_drain_seconds)
        await super().shutdown(sockets)
        if self.force_exit:
            await self.lifespan.shutdown()  # which uvicorn skips then
        for connection in list(self.server_state.connections):
            connection.transport.abort()  # its client doesn't read: uvloop would never stop waiting to send the rest

    async def _wait_while(self, waiting: Callable[[], bool], timeout_seconds: float) -> None:
        """Wait until the condition is over, the time is up, or a second Ctrl-C; a moment at least."""
        deadline = time.monotonic() + timeout_seconds
        while True:
            await asyncio.sleep(0.05)
            if self.force_exit or not waiting() or time.monotonic() > deadline:
                return


def drop_new_connections(listener: socket.socket) -> None:
    """Have the kernel drop each SYN to this socket, while connections that wait in its queue can still be accepted.

    By IP_MINTTL (ip(7), Linux): only packets that have crossed no router would still be let in, and those start at 255
    hops where others start at 64. A client that is dropped tries again after a second (RFC 6298, 2.1), and by then is
    refused. A BPF filter would do it, too, but takes privileges. IPv6 is for development alone (`listen`).
    """
    if sys.platform == "linux" and listener.family == socket.AF_INET:
        listener.setsockopt(socket.IPPROTO_IP, IP_MINTTL, 255)


def hear_again(connection: socket.socket) -> None:
    """Undo it for a connection that was made from such a listener: one whose handshake ended after the signal."""
    if sys.platform == "linux" and connection.family == socket.AF_INET:
        connection.setsockopt(socket.IPPROTO_IP, IP_MINTTL, 0)


def exit_after(seconds: float) -> None:
    """End the process by then, even if the event loop waits for a thread that hangs, say in getaddrinfo()."""

    def exit_now() -> None:
        logger.error("shutdown timed out: seconds=%.0f", seconds)
        logs.flush()
        os._exit(0)

    timer = threading.Timer(seconds, exit_now)
    timer.daemon = True
    timer.start()


def listen(host: str, port: int, variable: str = "PORT") -> list[socket.socket]:
    """Bind a socket for each address of the host. They don't accept connections yet.

    Args:
        host: an IPv4 address, or `localhost` for the loopback addresses of both families: browsers try both.
        port: 0 for any that is free.
        variable: the setting that the port comes from.

    Raises:
        SettingsError: the address is taken, or isn't this machine's.
    """
    if host != "localhost":
        return [_bind(socket.AF_INET, host, port, variable)]
    listener = _bind(socket.AF_INET, "127.0.0.1", port, variable)
    if not _has_ipv6():
        return [listener]
    try:
        return [listener, _bind(socket.AF_INET6, "::1", listener.getsockname()[1], variable)]
    except SettingsError:
        listener.close()
        raise


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def _bind(family: socket.AddressFamily, host: str, port: int, variable: str) -> socket.socket:
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if sys.platform == "linux":  # RFC 5482; inherited by connections. Neither asyncio nor uvicorn has such a limit.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_TIMEOUT_SECONDS * 1000)
    with _taking(listener, host, port, variable):
        listener.bind((host, port))
    return listener


@contextmanager
def _taking(listener: socket.socket, host: str, port: int, variable: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        listener.close()
        advice = f" Stop what listens there, or set {variable} to another." if error.errno == errno.EADDRINUSE else ""
        raise SettingsError(f"HOST, {variable}: can't listen on {host}:{port}: {error.strerror}.{advice}") from None


def show_metrics(app: FastAPI, settings: Settings) -> None:
    """Serve the metrics on METRICS_PORT, if it is set, until the process ends.

    Raises:
        SettingsError: the port is taken.
    """
    if settings.metrics_port:
        listener, *_ = listen(settings.host, settings.metrics_port, "METRICS_PORT")
        host, port = listener.getsockname()
        with _taking(listener, host, port, "METRICS_PORT"):
            app.state.services.metrics.listen(listener)


def serve(
    app: FastAPI, settings: Settings, listeners: list[socket.socket], *, exit_within_seconds: float | None = None
) -> None:
    """Serve until SIGTERM or SIGINT, then raise SystemExit(0).

    Args:
        app: the ASGI application.
        settings: the time limits of the shutdown.
        listeners: from `listen`.
        exit_within_seconds: end the process this long after the signal, whatever it still does.

    Raises:
        SettingsError: another process has begun to listen there, after `listen`.
    """
    for listener in listeners:
        host, port, *_ = listener.getsockname()
        with _taking(listener, host, port, "PORT"):
            listener.listen(BACKLOG)  # uvloop does so, too, but ignores a failure
    for number in STOP_SIGNALS:
        signal.signal(number, _exit)  # uvicorn raises the signal again after its shutdown
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http="httptools",
        log_config=None,
        access_log=False,  # HttpMiddleware logs each request
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=math.ceil(settings.shutdown_timeout_seconds),
    )
    logging.getLogger("uvicorn.error").addFilter(RepeatedWarnings())
    gc.freeze()  # what was imported lives as long as the process: the garbage collector needn't look at it
    Server(config, settings, exit_within_seconds).run(listeners)


class RepeatedWarnings(logging.Filter):
    """Lets each warning through once a minute: clients can provoke uvicorn's about invalid requests and upgrades."""

    def __init__(self) -> None:
        super().__init__()
        self._muted_until: dict[str, float] = {}

    @override
    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno != logging.WARNING:
            return True
        if record.created < self._muted_until.get(record.msg, 0):
            return False
        self._muted_until[record.msg] = record.created + WARNING_INTERVAL_SECONDS
        return True


def _exit(_number: int, _frame: FrameType | None) -> None:
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)  # once is enough
    sys.exit(0)


def main() -> None:
    logs.configure()
    try:
        settings = load(Settings)
        listeners = listen(settings.host, settings.port)
        app = create_app(build_services(settings))
        show_metrics(app, settings)
        serve(app, settings, listeners, exit_within_seconds=EXIT_WITHIN_SECONDS)
    except SettingsError as error:
        sys.exit(f"The server can't start.\n{error}")


if __name__ == "__main__":
    main()
