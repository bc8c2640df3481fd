"""Databases of the one test server, and servers of a test's own for those that break them."""

import asyncio
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import asyncpg

from audifi.core.config.settings import DatabaseSettings
from audifi.core.db.database import Database
from dev import postgres
from dev.postgres import Postgres
from tests.support.api import ROOT, environment

TEMPLATE = "audifi_template"

# A test server may lose its data: no waiting for the disk.
FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "200"}


@contextmanager
def own_server(port: int | None = None, **settings: str) -> Iterator[Postgres]:
    """A server of a test's own. Not in pytest's folder: PostgreSQL's user, if it isn't ours, is kept out of there."""
    with (
        TemporaryDirectory(prefix="audifi-tests-") as folder,
        postgres.running(Path(folder) / "postgres", port=port, settings=FAST | settings) as server,
    ):
        yield server


def execute(url: str, *statements: str) -> None:
    """Run statements outside a transaction, as CREATE DATABASE wants it."""

    async def run() -> None:
        connection = await asyncpg.connect(url)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(run())


def fetch_value(url: str, query: str, *arguments: object) -> object:
    """The first column of the first row; $1 and so on are the arguments."""

    async def run() -> object:
        connection = await asyncpg.connect(url)
        try:
            return await connection.fetchval(query, *arguments)
        finally:
            await connection.close()

    return asyncio.run(run())


@contextmanager
def holding(url: str, statement: str) -> Iterator[Callable[[], int]]:
    """Keep what a statement locks for as long as the block runs; yields how many others wait for a lock just now.

    Others of this database, and for any lock.
    """
    loop = asyncio.new_event_loop()
    connection = loop.run_until_complete(asyncpg.connect(url))
    count = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    transaction = connection.transaction()
    try:
        loop.run_until_complete(transaction.start())
        loop.run_until_complete(connection.execute(statement))
        yield lambda: int(str(fetch_value(url, count)))
    finally:
        loop.run_until_complete(connection.close())
        loop.close()


def connect_pools(url: str, *, size: int = 5, **settings: Any) -> Database:
    """Return a server's way to this database; close it."""
    values = DatabaseSettings.model_validate({"database_url": url, **settings})
    return Database(values, pool_size=size, read_pool_size=size)


def create_database(server: Postgres, template: str = "template0") -> str:
    """A new database's URL."""
    name = f"test_{uuid4().hex}"
    execute(server.url(), f"CREATE DATABASE {name} TEMPLATE {template}")
    return server.url(name)


def make_template(server: Postgres) -> str:
    """The database that tests clone, migrated as a release does it; returns why that failed, if it did."""
    execute(server.url(), f"CREATE DATABASE {TEMPLATE} TEMPLATE template0")
    done = alembic("upgrade", "head", DATABASE_URL=server.url(TEMPLATE))
    return done.stdout + done.stderr if done.returncode else ""


def alembic(
    *arguments: str, folder: Path = ROOT / "server", timeout: float = 200, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run the command that Fly's release machine runs."""
    return subprocess.run(
        ["alembic", *arguments],
        cwd=folder,
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
