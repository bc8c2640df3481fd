"""The API as a process of its own, asked over HTTP."""

import fcntl
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx2

ROOT = Path(__file__).parent.parent.parent
START_TIMEOUT_SECONDS = 20
PORTS = range(20_000, 32_768)
LAST_PORT = Path(tempfile.gettempdir()) / f"audifi-last-port-{os.getuid()}"


@dataclass(frozen=True, kw_only=True)
class Code:
    """A checkout, and the Python that has its packages."""

    name: str
    root: Path
    python: str


OURS = Code(name="this code", root=ROOT, python=sys.executable)


@dataclass(frozen=True, kw_only=True)
class Api:
    """A running server."""

    url: str
    port: int
    process: subprocess.Popen[bytes]
    log_file: Path

    def get_health(self) -> httpx2.Response:
        return httpx2.get(f"{self.url}/api/v1/health", timeout=10)

    def log(self) -> str:
        return self.log_file.read_text()

    def stop(self, number: signal.Signals = signal.SIGTERM, timeout: float = 30) -> int:
        """Send the signal and wait; returns the exit status."""
        self.process.send_signal(number)
        return self.process.wait(timeout)


def free_port() -> int:
    """A port of 127.0.0.1 for a server that is yet to start, which nobody else gets meanwhile.

    Not one that the kernel says is free: it gives that to another test as well, and to any client, until somebody
    listens there. These come in turn, for all processes of this machine, from below those that clients are given.
    """
    with LAST_PORT.open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        port = int(file.read() or PORTS[0])
        while True:
            port = port + 1 if port + 1 in PORTS else PORTS[0]
            with suppress(OSError), socket.create_server(("127.0.0.1", port)):
                file.truncate(0)
                file.write(str(port))
                return port


def listens(port: int) -> bool:
    """Whether somebody does, on 127.0.0.1."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


SECRETS = {
    "JWT_SECRET": "the JWT secret of the tests, of 32 characters or more",
    "MAGIC_LINK_SECRET": "the magic link secret of the tests, 32 characters or more",
}
APP_URL = "https://app.audifi.test"
MINIMAL = {
    "ENVIRONMENT": "development",
    "APP_URL": APP_URL,
    "DATABASE_URL": "postgres://nobody@127.0.0.1:1/nothing",
    **SECRETS,
}
"""All that a server needs to start."""


def environment(code: Code = OURS, /, **variables: str) -> dict[str, str]:
    """What a process is started with: nothing of this machine's settings but where programs are."""
    return {"PATH": os.environ["PATH"], "PYTHONPATH": f"{code.root / 'server'}:{code.root}", **variables}


@contextmanager
def running(folder: Path, module: str = "audifi.serve", code: Code = OURS, /, **variables: str) -> Iterator[Api]:
    """`python -m module`, on a free port of 127.0.0.1, until the block ends. Its log goes to a file in `folder`."""
    port = free_port()
    log_file = folder / f"api-{port}.log"
    defaults = {
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "ENVIRONMENT": "development",
        "APP_URL": APP_URL,
        "MAIL_FOLDER": str(folder / "mail"),
        "CLIENT_REQUESTS_PER_MINUTE": "1000000",  # all that asks here is one client
        **SECRETS,
    }
    settings = environment(code, **defaults | variables)
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            [code.python, "-W", "error", "-m", module],
            env=settings,
            cwd=code.root / "server",
            stdout=log,
            stderr=log,
        )
    api = Api(url=f"http://127.0.0.1:{port}", port=port, process=process, log_file=log_file)
    try:
        _wait_until_it_listens(api)
        yield api
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def _wait_until_it_listens(api: Api) -> None:
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while not listens(api.port):
        gave_up = api.process.poll() is not None or time.monotonic() > deadline
        assert not gave_up, f"the API didn't start:\n{api.log()}"
        time.sleep(0.02)
