"""Connections to a real PostgreSQL: TLS, addresses, pools, time limits, PgBouncer."""

import asyncio
import logging
import signal
import ssl
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context
from pathlib import Path
from typing import Any
from urllib.parse import quote

import asyncpg
import pytest
import trustme

from audifi.core.config.settings import DatabaseSettings
from audifi.core.db.connection import connect, is_behind_pooler
from audifi.core.db.database import Database
from dev.postgres import Postgres
from tests.support import api as apis
from tests.support import databases, pgbouncer
from tests.support.relay import Relay, relay
from tests.support.waiting import until, wait_until

pytestmark = pytest.mark.slow

needs_pgbouncer = pytest.mark.skipif(
    pgbouncer.PROGRAM is None, reason="PgBouncer isn't here: apt-get install pgbouncer"
)


def settings_for(url: str, **settings: object) -> DatabaseSettings:
    return DatabaseSettings.model_validate({"database_url": url, **settings})


def ask(url: str, query: str = "SELECT 1") -> object:
    """Connect as the API does, and return the result of a query."""

    async def run() -> object:
        connection = await connect(settings_for(url))
        try:
            return await connection.fetchval(query)
        finally:
            await connection.close()

    return asyncio.run(run())


def with_database[T](url: str, use: Callable[[Database], Awaitable[T]], **settings: Any) -> T:
    async def run() -> T:
        async with databases.connect_pools(url, **settings) as database:
            return await use(database)

    return asyncio.run(run())


# --- TLS ---


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def root(authority: trustme.CA, tmp_path: Path) -> str:
    """The path of the authority's certificate, as a value in a URL's query."""
    file = tmp_path / "root.pem"
    authority.cert_pem.write_to_path(str(file))
    return quote(str(file), safe="")


@pytest.fixture
def tls_relay(authority: trustme.CA, postgres_server: Postgres) -> Iterator[Relay]:
    """PostgreSQL behind TLS, with a certificate for `localhost`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    with relay(postgres_server.socket_folder, postgres_server.port, context) as running:
        yield running


@pytest.fixture
def plain_relay(postgres_server: Postgres) -> Iterator[Relay]:
    with relay(postgres_server.socket_folder, postgres_server.port) as running:
        yield running


@pytest.mark.parametrize("mode", ["prefer", "require"])
def test_unverified_modes_encrypt_where_the_server_can(tls_relay: Relay, mode: str) -> None:
    assert ask(f"postgres://postgres@127.0.0.1:{tls_relay.port}/postgres?sslmode={mode}") == 1
    assert tls_relay.encrypted_connections == 1


@pytest.mark.parametrize("mode", ["prefer", "allow", "disable"])
def test_optional_modes_do_without_where_it_cannot(plain_relay: Relay, mode: str) -> None:
    assert ask(f"postgres://postgres@127.0.0.1:{plain_relay.port}/postgres?sslmode={mode}") == 1


@pytest.mark.parametrize("mode", ["require", "verify-full"])
def test_demanding_modes_refuse_a_server_without_tls(plain_relay: Relay, mode: str) -> None:
    with pytest.raises(ConnectionError, match="rejected SSL upgrade"):
        ask(f"postgres://postgres@localhost:{plain_relay.port}/postgres?sslmode={mode}")


def test_verify_full_takes_the_right_authority_and_name(tls_relay: Relay, root: str) -> None:
    url = f"postgres://postgres@localhost:{tls_relay.port}/postgres?sslmode=verify-full&sslrootcert={root}"

    assert ask(url) == 1
    assert tls_relay.encrypted_connections == 1


def test_verify_full_refuses_another_name(tls_relay: Relay, root: str) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match=r"127\.0\.0\.1"):
        ask(f"postgres://postgres@127.0.0.1:{tls_relay.port}/postgres?sslmode=verify-full&sslrootcert={root}")


def test_verify_ca_takes_another_name_of_the_right_authority(tls_relay: Relay, root: str) -> None:
    assert ask(f"postgres://postgres@127.0.0.1:{tls_relay.port}/postgres?sslmode=verify-ca&sslrootcert={root}") == 1


@pytest.mark.parametrize(
    "query",
    ["sslmode=verify-full", "sslmode=verify-ca", "sslrootcert=system", "sslmode=require&channel_binding=require"],
)
def test_unknown_authority_is_refused(tls_relay: Relay, query: str) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        ask(f"postgres://postgres@localhost:{tls_relay.port}/postgres?{query}")


# --- addresses and parameters ---


def test_unix_socket_is_supported(postgres_server: Postgres) -> None:
    folder, port = postgres_server.socket_folder, postgres_server.port

    assert ask(f"postgresql://postgres@/postgres?host={folder}&port={port}") == 1


def test_ipv6_is_supported() -> None:
    with databases.own_server(apis.free_port(), listen_addresses="::1") as server:
        assert ask(f"postgres://postgres@[::1]:{server.port}/postgres") == 1


def test_password_may_contain_special_characters(own_postgres: Postgres) -> None:
    password = "p@ss:/?#[]%&=+ wörd"
    databases.execute(own_postgres.url(), f"ALTER USER postgres PASSWORD '{password}'")

    assert ask(f"postgres://postgres:{quote(password, safe='')}@127.0.0.1:{own_postgres.port}/postgres") == 1


def test_application_name_and_options_take_effect(database_url: str) -> None:
    url = f"{database_url}&application_name=console&options=-c%20work_mem%3D7MB"

    assert ask(url, "SHOW application_name") == "console"
    assert ask(url, "SHOW work_mem") == "7MB"


# --- the pool and its limits ---


def test_slow_statement_is_cancelled_by_the_server(database_url: str) -> None:
    async def sleep(database: Database) -> None:
        await database.fetch_sql("SELECT pg_sleep(5)")

    with pytest.raises(asyncpg.QueryCanceledError, match="statement timeout"):
        with_database(database_url, sleep, database_statement_timeout_seconds=0.1)


def test_wait_for_a_lock_times_out(database_url: str) -> None:
    async def lock_twice(database: Database) -> None:
        async with database.transaction() as tx:
            await tx.fetch_sql("LOCK TABLE users")
            await asyncio.create_task(database.fetch_sql("SELECT * FROM users"), context=Context())

    with pytest.raises(asyncpg.LockNotAvailableError, match="lock timeout"):
        with_database(database_url, lock_twice, database_lock_timeout_seconds=0.1)


def test_silent_network_times_out_in_the_client(postgres_server: Postgres) -> None:
    with relay(postgres_server.socket_folder, postgres_server.port) as network:

        async def ask_silence(database: Database) -> None:
            with pytest.raises(TimeoutError):
                async with database.transaction() as tx:
                    await tx.fetch_sql("SELECT 1")
                    network.silent = True
                    await tx.fetch_sql("SELECT 2")
            await until(lambda: len(asyncio.all_tasks()) == 1)  # asyncpg has sent its request to cancel

        url = f"postgres://postgres@127.0.0.1:{network.port}/postgres"
        with_database(url, ask_silence, database_statement_timeout_seconds=1)


def test_blue_green_deploy_fits_a_hundred_connections() -> None:
    defaults = {name: field.default for name, field in DatabaseSettings.model_fields.items()}
    probe, background_reads = 1, 1
    pools = ("pool_size", "read_pool_size", "background_pool_size")
    machine = sum(defaults[f"database_{pool}"] for pool in pools) + background_reads + probe
    release_machine = 2

    assert 2 * 2 * machine + release_machine <= 100 - 3


# --- PgBouncer ---

REFUSES_PARAMETERS: dict[str, str] = {}
"""PgBouncer's defaults: it refuses start-up parameters that it doesn't track."""
IGNORES_PARAMETERS = {"ignore_startup_parameters": "statement_timeout,lock_timeout,idle_in_transaction_session_timeout"}
"""Nothing shows at connection that a pooler is there."""


@needs_pgbouncer
@pytest.mark.parametrize("configuration", [REFUSES_PARAMETERS, IGNORES_PARAMETERS], ids=["refuses", "ignores"])
def test_pooler_is_recognised_at_the_first_connection(
    postgres_server: Postgres, caplog: pytest.LogCaptureFixture, configuration: dict[str, str]
) -> None:
    """Twenty clients share two server connections, so prepared statements of other transactions could collide."""

    async def transactions(database: Database) -> list[int]:
        async def add(number: int) -> int:
            total = 0
            for offset in range(20):
                async with database.transaction() as tx:
                    [[incremented]] = await tx.fetch_sql("SELECT $1::int + 1", number)
                    [[shifted]] = await tx.fetch_sql(f"SELECT $1::int + {offset}", incremented)
                    total += shifted
            return total

        totals = await asyncio.gather(*(add(number) for number in range(20)))
        # Named statements would collide with those of another process.
        assert [tuple(row) for row in await database.fetch_sql("SELECT count(*) FROM pg_prepared_statements")] == [(0,)]
        return totals

    with caplog.at_level(logging.INFO), pgbouncer.running(postgres_server, **configuration) as port:
        url = f"postgres://postgres@127.0.0.1:{port}/postgres"
        totals = with_database(url, transactions, size=20)

    assert totals == [20 * (number + 1) + sum(range(20)) for number in range(20)]
    assert f"database 127.0.0.1:{port}/postgres is behind a pooler: statements aren't prepared" in caplog.messages
    assert is_behind_pooler(settings_for(url))


def test_direct_connection_prepares_statements(database_url: str) -> None:
    async def count(database: Database) -> int:
        await database.fetch_sql("SELECT $1::int", 1)
        [[prepared]] = await database.fetch_sql("SELECT count(*) FROM pg_prepared_statements")
        return int(prepared)

    assert with_database(database_url, count) > 0
    assert not is_behind_pooler(settings_for(database_url))


def test_database_silent_after_connecting_times_out(postgres_server: Postgres) -> None:
    async def run(url: str) -> None:
        with pytest.raises(TimeoutError):
            await connect(settings_for(url))
        await until(lambda: len(asyncio.all_tasks()) == 1)  # asyncpg has sent its request to cancel

    with relay(postgres_server.socket_folder, postgres_server.port) as network:
        network.silent_after_connecting = True
        asyncio.run(run(f"postgres://postgres@127.0.0.1:{network.port}/postgres?connect_timeout=1"))


@needs_pgbouncer
def test_other_errors_of_pgbouncer_are_raised(postgres_server: Postgres) -> None:
    with (
        pgbouncer.running(postgres_server, max_client_conn="0") as port,
        pytest.raises(asyncpg.PostgresError, match="no more connections"),
    ):
        ask(f"postgres://postgres@127.0.0.1:{port}/postgres")


@needs_pgbouncer
def test_health_detects_an_outage_behind_pgbouncer(tmp_path: Path) -> None:
    with (
        databases.own_server() as server,
        pgbouncer.running(server) as port,
        apis.running(tmp_path, DATABASE_URL=f"postgres://postgres@127.0.0.1:{port}/postgres") as api,
    ):
        assert api.get_health().status_code == 200
        server.signal(signal.SIGSTOP)
        time.sleep(1.05)
        assert api.get_health().status_code == 503
        server.signal(signal.SIGCONT)
        wait_until(lambda: api.get_health().status_code == 200)


@needs_pgbouncer
def test_migrations_run_behind_pgbouncer_one_at_a_time(postgres_server: Postgres, empty_database_url: str) -> None:
    database = empty_database_url.split("/")[3].split("?", maxsplit=1)[0]
    with pgbouncer.running(postgres_server, default_pool_size="6") as port, ThreadPoolExecutor(2) as threads:
        url = f"postgres://postgres@127.0.0.1:{port}/{database}"
        runs = [threads.submit(databases.alembic, "upgrade", "head", DATABASE_URL=url) for _ in range(2)]
        logs = sorted(run.result().stderr for run in runs)

    assert sum("applied 0001" in log for log in logs) == 1, logs
    assert sum("nothing to apply" in log for log in logs) == 1, logs
