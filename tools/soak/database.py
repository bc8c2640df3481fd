"""A PostgreSQL 16 to be broken, and the ways to break it."""

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

# What is acknowledged must be there after a crash of PostgreSQL; of the machine there is none here, so without fsync.
SETTINGS = databases.FAST | {"synchronous_commit": "on", "max_connections": "100"}
NAME = "audifi"


class Database:
    """It keeps its port and its data when it is started anew."""

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
        """Away for so long."""
        self.stop()
        time.sleep(seconds)
        self.start()

    def freeze(self, seconds: float) -> None:
        """It takes connections (the kernel does), and answers nothing."""
        self._server.signal(signal.SIGSTOP)
        time.sleep(seconds)
        self._server.signal(signal.SIGCONT)

    def cut(self, _: float) -> None:
        """Every connection of the server's, as a failover or an operator does."""
        databases.execute(
            self._server.url(),
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{NAME}'",
        )

    def crash(self, _: float) -> None:
        """One of its processes is killed: PostgreSQL drops all connections, and recovers from its log."""
        backends = [
            process
            for process in psutil.Process(self._server.pid).children()
            if any(NAME in part for part in process.cmdline())
        ]
        random.choice(backends).send_signal(signal.SIGKILL)
        time.sleep(0.1)

    def connections(self) -> int:
        """The API's, its probe's not."""
        query = f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{NAME}' AND pid <> pg_backend_pid()"
        return int(str(databases.fetch_value(self._server.url(), query)))

    def ways(self) -> dict[str, Callable[[float], None]]:
        return {"restart": self.restart, "freeze": self.freeze, "cut": self.cut, "crash": self.crash}


@contextmanager
def running() -> Iterator[Database]:
    """Migrated as a release does it."""
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
