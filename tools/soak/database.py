"""PostgreSQL 16 with faults on demand."""

import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from dev import postgres
from dev.postgres import Postgres
from tests.support import databases
from tests.support.api import free_port

# Acknowledged writes must survive a crash of PostgreSQL. The machine doesn't crash here, so fsync is off.
SETTINGS = databases.FAST | {"synchronous_commit": "on", "max_connections": "100"}
NAME = "audifi"


class Database:
    """A server that keeps its port and its data across restarts."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self._running = ExitStack()
        self._server: Postgres

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self._port}/{NAME}"

    def start(self) -> None:
        self._server = self._running.enter_context(
            postgres.running(self._folder / "postgres", port=self._port, settings=SETTINGS)
        )

    def stop(self) -> None:
        self._running.close()

    def restart(self, seconds: float) -> None:
        """Stop the server for a time."""
        self.stop()
        time.sleep(seconds)
        self.start()

    def freeze(self, seconds: float) -> None:
        """Freeze the server: the kernel still accepts connections, but nothing answers."""
        self._server.signal(signal.SIGSTOP)
        time.sleep(seconds)
        self._server.signal(signal.SIGCONT)

    def cut(self, _: float) -> None:
        """End every connection, like a failover or an operator does."""
        databases.execute(
            self._server.url(),
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{NAME}'",
        )

    def crash(self, _: float) -> None:
        """Kill one backend: PostgreSQL drops all connections and recovers from its log."""
        backends = [
            process
            for process in psutil.Process(self._server.pid).children()
            if any(NAME in part for part in process.cmdline())
        ]
        backend = random.choice(backends)
        backend.kill()
        backend.wait()

    def connections(self) -> int:
        """Return the number of the API's connections."""
        query = f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{NAME}' AND pid <> pg_backend_pid()"
        return int(str(databases.fetch_value(self._server.url(), query)))

    def ways(self) -> dict[str, Callable[[float], None]]:
        return {"restart": self.restart, "freeze": self.freeze, "cut": self.cut, "crash": self.crash}


@contextmanager
def running() -> Iterator[Database]:
    """Run a migrated database while the block runs."""
    with TemporaryDirectory(prefix="audifi-soak-") as folder:
        database = Database(Path(folder))
        database.start()
        try:
            databases.execute(database.url.replace(f"/{NAME}", "/postgres"), f"CREATE DATABASE {NAME}")
            done = databases.alembic("upgrade", "head", DATABASE_URL=database.url)
            assert done.returncode == 0, done.stderr
            yield database
        finally:
            database.stop()
