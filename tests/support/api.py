"""The API as a separate process, called over HTTP."""

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

from tests.support import patient

ROOT = Path(__file__).parent.parent.parent
START_TIMEOUT_SECONDS = 120
LAST_PORT = Path(tempfile.gettempdir()) / f"audifi-last-port-{os.getuid()}"


@dataclass(frozen=True, kw_only=True)
class Code:
    """A checkout and the Python interpreter that has its packages."""

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
        return patient.get(f"{self.url}/api/v1/health")

    def log(self) -> str:
        """Return the complete lines of the log; write(2) isn't atomic, so the last one may be partial."""
        return whole_lines(self.log_file)

    def state(self) -> str:
        """Return the exit status and the end of the log, for a failed test's report."""
        status = self.process.poll()
        does = "runs" if status is None else f"has ended with {status}"
        log = self.log_file.read_text(errors="replace")
        return "\n".join([f"process {self.process.pid} {does}", *log.splitlines()[-20:]])

    def stop(self, number: signal.Signals = signal.SIGTERM, timeout: float = 30) -> int:
        """Send the signal, wait, and return the exit status."""
        self.process.send_signal(number)
        return self.process.wait(timeout)


def whole_lines(file: Path) -> str:
    """Return the content of a file without a last line that has no end yet."""
    lines, end, _ = file.read_bytes().rpartition(b"\n")
    return (lines + end).decode()


RUNNING: list[Api] = []
"""The servers that this process has started."""


def ports_of_servers() -> range:
    """Return ports outside the ephemeral range (ip(7), ip_local_port_range), where it leaves any."""
    setting = Path("/proc/sys/net/ipv4/ip_local_port_range")
    first = int(setting.read_text().split()[0]) if setting.exists() else 32_768
    return range(first - 10_000, first) if first > 12_000 else range(20_000, 30_000)


PORTS = ports_of_servers()


def free_port() -> int:
    """Return a port of 127.0.0.1 that no other caller on this machine gets soon.

    A port that the kernel reports as free can go to another test or to a client before the server listens on it. These
    ports are handed out in turn to all processes of the machine, from outside the ephemeral range.
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


def listens(port: int, *, source_port: int = 0) -> bool:
    """Return whether a server listens on a port of 127.0.0.1."""
    try:
        with socket.create_connection(("127.0.0.1", port), 10, ("127.0.0.1", source_port)) as connection:
            # A client can connect to itself if the kernel gives it this very port (RFC 9293, 3.5).
            return bool(connection.getsockname() != connection.getpeername())
    except OSError:
        return False


SECRETS = {
    "JWT_SECRET": "the JWT secret of the tests, of 32 characters or more",
    "MAGIC_LINK_SECRET": "the magic link secret of the tests, 32 characters or more",
}
FILES = {
    "FILES_ENDPOINT": "http://127.0.0.1:1",
    "FILES_BUCKET": "audifi",
    "FILES_KEY_ID": "the-key-id-of-the-tests",
    "FILES_SECRET": "the-files-secret-of-the-tests",
}
"""A storage that can't be reached; URLs can be signed for it."""
APP_URL = "https://app.audifi.test"
MINIMAL = {
    "ENVIRONMENT": "development",
    "APP_URL": APP_URL,
    "DATABASE_URL": "postgres://nobody@127.0.0.1:1/nothing",
    **SECRETS,
    **FILES,
}
"""The settings that a server needs to start."""


def environment(code: Code = OURS, /, **variables: str) -> dict[str, str]:
    """Return the environment of a child process: PATH is its only variable from this machine."""
    settings = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{code.root / 'server'}:{code.root}"}
    return settings | {"PYTHONFAULTHANDLER": "1"} | variables  # as the image has it


@contextmanager
def running(folder: Path, module: str = "audifi.serve", code: Code = OURS, /, **variables: str) -> Iterator[Api]:
    """Run `python -m module` on a free port of 127.0.0.1 while the block runs. Its log is a file in `folder`."""
    port = free_port()
    log_file = folder / f"api-{port}.log"
    defaults = {
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "ENVIRONMENT": "development",
        "APP_URL": APP_URL,
        "MAIL_FOLDER": str(folder / "mail"),
        "CLIENT_REQUESTS_PER_MINUTE": "1000000",  # all requests of the tests have one address
        **SECRETS,
        **FILES,
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
    RUNNING.append(api)
    try:
        _wait_until_it_listens(api)
        try:
            yield api
        except Exception as error:  # re-raised with a note that pytest shows
            error.add_note(f"server at {api.url}: {api.state()}")
            raise
    finally:
        RUNNING.remove(api)
        if process.poll() is None:
            process.kill()
        process.wait()


def _wait_until_it_listens(api: Api) -> None:
    """Wait for the log line: an answer on the port could be another server's."""
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while " listens on http://" not in api.log():
        gave_up = api.process.poll() is not None or time.monotonic() > deadline
        assert not gave_up, f"the API didn't start:\n{api.log()}"
        time.sleep(0.02)
