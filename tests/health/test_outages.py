"""What ails a database, one real ailment a test: health is 503 within 2 s, says why only in the log, and recovers."""

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import asyncpg
import httpx2
import pytest

from dev.postgres import Postgres
from tests.support import api as apis
from tests.support import databases, patient
from tests.support.api import Api
from tests.support.fixtures import StartApi
from tests.support.relay import dropped_packets, relay
from tests.support.waiting import assert_soon, wait_until

pytestmark = pytest.mark.slow

CHECK_TIMEOUT_SECONDS = 10  # server/fly.toml


def assert_disconnected(api: Api, *, cause: str) -> None:
    """Ask past the second in which the last result may be reused."""
    time.sleep(1.05)
    began = time.monotonic()
    answer = api.get_health()
    took = time.monotonic() - began

    assert answer.status_code == 503
    assert took < CHECK_TIMEOUT_SECONDS / 2
    body = answer.json()
    assert body.pop("timestamp")
    assert body == {"status": "degraded", "version": "0.1.0", "dependencies": {"database": "disconnected"}}
    assert answer.headers["cache-control"] == "no-store"
    wait_until(lambda: cause in api.log())  # the answer doesn't wait for the line
    assert "secret" not in api.log()
    assert "Traceback" not in api.log()


def assert_degraded(api: Api, state: str) -> None:
    """Ask past the second in which the last result may be reused."""
    time.sleep(1.05)
    answer = api.get_health()

    assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
    assert answer.json()["dependencies"] == {"database": state}
    wait_until(lambda: f"is {state}: " in api.log())


def assert_connected(api: Api) -> None:
    """Past the second in which the last result may be reused, and what a probe takes that a busy machine made fail."""
    time.sleep(1.05)
    assert_soon(lambda: api.get_health().status_code == 200, 2)


def tcp_url(server: Postgres, password: str = "secret", **parameters: str) -> str:
    query = "&".join(f"{name}={value}" for name, value in parameters.items())
    return f"postgres://postgres:{password}@127.0.0.1:{server.port}/postgres?{query}"


def test_a_database_that_is_down_at_boot_and_comes_later(start_api: StartApi) -> None:
    port = apis.free_port()
    api = start_api(f"postgres://postgres@127.0.0.1:{port}/postgres")

    assert_disconnected(api, cause="ConnectionRefusedError")
    with databases.own_server(port):
        assert_connected(api)
    assert_disconnected(api, cause="ConnectionRefusedError")


def test_a_wrong_password(start_api: StartApi, own_postgres: Postgres) -> None:
    api = start_api(tcp_url(own_postgres, password="not-the-secret"))

    assert_disconnected(api, cause="InvalidPasswordError")
    databases.execute(own_postgres.url(), "ALTER USER postgres PASSWORD 'not-the-secret'")
    assert_connected(api)


def test_a_name_that_does_not_resolve(start_api: StartApi) -> None:
    api = start_api("postgres://postgres:secret@audifi-db.invalid/postgres")

    assert_disconnected(api, cause="audifi-db.invalid:5432/postgres is disconnected: gaierror")


def test_packets_that_are_dropped(start_api: StartApi) -> None:
    with dropped_packets() as port:
        api = start_api(f"postgres://postgres:secret@127.0.0.1:{port}/postgres")

        assert_disconnected(api, cause="no answer in time")


def test_a_server_that_is_frozen_and_thawed(start_api: StartApi, own_postgres: Postgres) -> None:
    api = start_api(tcp_url(own_postgres))
    assert_connected(api)

    own_postgres.signal(signal.SIGSTOP)
    assert_disconnected(api, cause="no answer in time")
    own_postgres.signal(signal.SIGCONT)
    assert_connected(api)


def test_silent_network_signs_nobody_out(start_api: StartApi, postgres_server: Postgres) -> None:
    with relay(postgres_server.socket_folder, postgres_server.port) as network:
        api = start_api(f"postgres://postgres@127.0.0.1:{network.port}/postgres")
        assert_connected(api)

        network.silent = True
        assert_disconnected(api, cause="no answer in time")
        network.silent = False
        assert_connected(api)


def test_too_many_connections(start_api: StartApi, own_postgres: Postgres) -> None:
    databases.execute(own_postgres.url(), "CREATE USER guest PASSWORD 'secret'")
    url = tcp_url(own_postgres).replace("postgres:secret", "guest:secret")

    with databases.full(url):  # before the server has a connection that it could keep
        api = start_api(url)
        assert_disconnected(api, cause="TooManyConnectionsError")
    assert_connected(api)


def test_full_database_leaves_a_server_with_a_pool_in_rotation(start_api: StartApi, own_postgres: Postgres) -> None:
    databases.execute(own_postgres.url(), "CREATE USER guest PASSWORD 'secret'")
    url = tcp_url(own_postgres).replace("postgres:secret", "guest:secret")
    api = start_api(url, module="tests.support.api_with_test_routes")

    def read() -> int:
        return patient.get(f"{api.url}/test/read?value=x").status_code

    assert read() == 200
    with databases.full(url):
        assert_degraded(api, "saturated")
        assert read() == 200
    assert_connected(api)


def test_read_only_database_is_degraded(start_api: StartApi, own_postgres: Postgres) -> None:
    databases.execute(own_postgres.url(), "CREATE TABLE marks (name text)")
    api = start_api(tcp_url(own_postgres), module="tests.support.api_with_test_routes")

    def write() -> httpx2.Response:
        return patient.post(f"{api.url}/test/marks?name=x")

    def set_read_only(value: str) -> None:
        set_ = f"ALTER SYSTEM SET default_transaction_read_only = {value}"
        databases.execute(own_postgres.url(), set_, "SELECT pg_reload_conf()")

    assert write().status_code == 200
    set_read_only("on")
    assert_degraded(api, "read_only")
    assert patient.get(f"{api.url}/test/read?value=x").status_code == 200
    refused = write()
    set_read_only("off")

    assert (refused.status_code, refused.json()["code"]) == (503, "database.read_only")
    assert refused.headers["retry-after"] == "5"
    assert "Traceback" not in api.log()
    assert_connected(api)
    assert write().status_code == 200


def test_a_server_that_crashes_and_restarts(start_api: StartApi, own_postgres: Postgres) -> None:
    api = start_api(tcp_url(own_postgres))
    assert_connected(api)

    backend = databases.fetch_value(
        own_postgres.url(), "SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'"
    )
    assert isinstance(backend, int)
    os.kill(backend, signal.SIGKILL)  # the postmaster restarts everything

    def is_back() -> bool:
        try:
            return (
                databases.fetch_value(own_postgres.url(), "SELECT pid FROM pg_stat_activity WHERE pid = $1", backend)
                is None
            )
        except (OSError, asyncpg.PostgresError):
            return False

    wait_until(is_back)
    assert_connected(api)


def test_a_pool_that_is_exhausted_leaves_health_green(start_api: StartApi, database_url: str) -> None:
    api = start_api(
        database_url,
        module="tests.support.api_with_test_routes",
        DATABASE_POOL_SIZE="1",
        DATABASE_POOL_TIMEOUT_SECONDS="1",
    )
    asleep = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()"

    def query() -> int:
        return patient.get(f"{api.url}/test/slow-query?seconds=8").status_code

    with ThreadPoolExecutor(3) as threads:
        first = threads.submit(query)
        wait_until(lambda: databases.fetch_value(database_url, asleep) == 1)
        others = [threads.submit(query) for _ in range(2)]
        began = time.monotonic()
        answer = api.get_health()
        took = time.monotonic() - began

    assert (answer.status_code, took < CHECK_TIMEOUT_SECONDS / 2) == (200, True)
    assert [other.result() for other in others] == [503, 503]  # the pool was exhausted indeed
    assert first.result() == 200
