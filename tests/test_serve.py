"""The server process: start, invalid settings, shutdown."""

import asyncio
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest
from fastapi import FastAPI

from audifi.core.config.settings import Settings, SettingsError, load
from audifi.serve import listen, serve
from dev.postgres import Postgres
from tests.support import databases, patient, wire
from tests.support.api import APP_URL, FILES, MINIMAL, SECRETS, Api, environment, free_port
from tests.support.fixtures import StartApi
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

TEST_ROUTES = "tests.support.api_with_test_routes"
KILL_TIMEOUT_SECONDS = 30  # server/fly.toml


def start_and_fail(**variables: str) -> str:
    """Return the output of a server that fails to start."""
    done = subprocess.run(
        [sys.executable, "-m", "audifi.serve"],
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == 1
    return done.stdout + done.stderr


def wait_for_work(api: Api, requests: int) -> None:
    """Wait until this number of requests is in flight."""
    wait_until(lambda: patient.get(f"{api.url}/test/in-flight").json() >= requests)


def takes_connections(api: Api) -> bool:
    try:
        socket.create_connection(("127.0.0.1", api.port)).close()
    except ConnectionRefusedError:
        return False
    return True


def test_invalid_settings_are_named_without_values() -> None:
    output = start_and_fail(DATABASE_URL="mysql://u:s3cr3t@h/d", PORT="70000", ENVIRONMENT="s3cr3t")

    assert "The server can't start." in output
    assert "DATABASE_URL: must start with postgres://" in output
    assert "PORT: Input should be less than or equal to 65535" in output
    assert "ENVIRONMENT: Input should be 'development' or 'production'" in output
    assert "s3cr3t" not in output
    assert "Traceback" not in output


def test_log_has_version_and_address_and_no_secrets(start_api: StartApi, database_url: str) -> None:
    api = start_api(database_url, module=TEST_ROUTES, AUDIFI_COMMIT="1a2b3c4d")
    api.get_health()
    patient.get(f"{api.url}/test/slow?seconds=0&token=s3cr3t")
    token = "art1_" + "s3cr3t" * 10
    assert token not in patient.get(f"{api.url}/api/v1/auth/sessions/{token}").text
    api.stop()

    assert f"audifi 0.1.0+1a2b3c4 (development) listens on http://127.0.0.1:{api.port}" in api.log()
    assert "GET /test/slow 200" in api.log()
    assert "s3cr3t" not in api.log()
    assert "/health" not in api.log()


def test_port_in_use_is_one_clear_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        output = start_and_fail(
            DATABASE_URL="postgres://u@127.0.0.1/d",
            HOST="127.0.0.1",
            PORT=str(port),
            ENVIRONMENT="development",
            APP_URL=APP_URL,
            **SECRETS,
            **FILES,
        )

    assert f"can't listen on 127.0.0.1:{port}: Address already in use" in output
    assert "Traceback" not in output


def test_second_listener_of_a_port_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel allows both to bind the port, until one of them listens."""

    @asynccontextmanager
    async def start(_: FastAPI) -> AsyncIterator[None]:
        yield pytest.fail("it starts, though it can't listen")

    for name, value in MINIMAL.items():
        monkeypatch.setenv(name, value)
    settings = load(Settings)
    port = free_port()
    late, [early] = listen("127.0.0.1", port), listen("127.0.0.1", port)
    with early:
        early.listen()
        with pytest.raises(SettingsError, match=f"can't listen on 127.0.0.1:{port}: Address already in use"):
            serve(FastAPI(lifespan=start), settings, late)


def test_localhost_is_served_on_both_families(start_api: StartApi, database_url: str) -> None:
    api = start_api(database_url, HOST="localhost")
    api.get_health()

    answer = patient.get(f"http://[::1]:{api.port}/api/v1/health")
    assert answer.status_code == 200
    assert f"listens on http://localhost:{api.port}" in api.log()
    assert api.stop() == 0
    assert "Traceback" not in api.log()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_idle_server_exits_0_at_once(start_api: StartApi, database_url: str, number: signal.Signals) -> None:
    api = start_api(database_url)
    api.get_health()

    began = time.monotonic()
    assert api.stop(number) == 0
    assert time.monotonic() - began < KILL_TIMEOUT_SECONDS / 3
    assert "Traceback" not in api.log()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_shutdown_finishes_requests_and_refuses_new_ones(
    start_api: StartApi, database_url: str, number: signal.Signals
) -> None:
    api = start_api(database_url, module=TEST_ROUTES, DATABASE_POOL_SIZE="10")
    with httpx2.Client(base_url=api.url, timeout=200) as client, ThreadPoolExecutor(20) as threads:
        paths = ["/test/slow?seconds=6"] * 10 + ["/test/slow-query?seconds=6"] * 10
        requests = [threads.submit(client.get, path) for path in paths]
        wait_for_work(api, 20)
        api.process.send_signal(number)

        wait_until(lambda: not takes_connections(api))
        assert not any(request.done() for request in requests)
        assert [request.result().status_code for request in requests] == [200] * 20

    assert api.process.wait(30) == 0
    assert "Traceback" not in api.log()


async def kept_connection(api: Api, outcomes: Counter[str]) -> None:
    """Send requests on a kept connection, as a proxy does; reconnect after `Connection: close`, until refused."""
    while True:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
        except ConnectionRefusedError:
            return
        closing = False
        while not closing:
            await asyncio.sleep(random.uniform(0, 0.3))
            try:
                writer.write(b"GET /test/slow?seconds=0.01 HTTP/1.1\r\nHost: api\r\n\r\n")
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(len(b"0.01"))
            except (ConnectionError, asyncio.IncompleteReadError):
                outcomes["dropped"] += 1
                break
            outcomes[head.split(b" ")[1].decode()] += 1
            closing = b"connection: close" in head
        writer.close()


async def connection_for_each_request(api: Api, outcomes: Counter[str]) -> None:
    """Send each request on a new connection, until refused."""
    while True:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
        except ConnectionRefusedError:
            return
        try:
            writer.write(b"GET /test/slow?seconds=0 HTTP/1.1\r\nHost: api\r\nConnection: close\r\n\r\n")
            outcomes[(await reader.read()).split(b" ")[1].decode()] += 1
        except (ConnectionError, IndexError):
            outcomes["dropped"] += 1
        writer.close()


@pytest.mark.parametrize(("client", "clients"), [(kept_connection, 100), (connection_for_each_request, 50)])
def test_traffic_loses_no_request(
    start_api: StartApi,
    database_url: str,
    client: Callable[[Api, Counter[str]], Coroutine[Any, Any, None]],
    clients: int,
) -> None:
    """Kept connections are closed only after `Connection: close`, and connections in the accept queue are served.

    Without the drain the first client fails; without emptying the accept queue, the second.
    """
    api = start_api(database_url, module=TEST_ROUTES, SHUTDOWN_DRAIN_SECONDS="10")  # enough for slow clients
    outcomes: Counter[str] = Counter()

    async def run() -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(clients):
                group.create_task(client(api, outcomes))
            await asyncio.sleep(1)
            api.process.send_signal(signal.SIGTERM)

    asyncio.run(run())

    assert api.process.wait(30) == 0
    assert outcomes["200"] > clients
    assert outcomes == {"200": outcomes["200"]}


@pytest.mark.skipif(
    os.geteuid() != 0 or not Path("/dev/net/tun").exists() or shutil.which("unshare") is None,
    reason="a slow link requires root, /dev/net/tun and unshare",
)
def test_client_on_slow_link_gets_its_response() -> None:
    """Also a client whose handshake began before the signal and ended after it. Later clients are refused."""
    done = subprocess.run(
        ["unshare", "--net", sys.executable, "-m", "tests.support.slow_link"],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=250,  # it starts a server for each of up to 5 tries
        check=True,
    )
    outcomes = Counter(json.loads(done.stdout))

    assert set(outcomes) == {"HTTP/1.1 404", "refused"}, outcomes
    assert outcomes["HTTP/1.1 404"] > 15  # the clients before the signal, and a few more


def test_endless_request_is_cut_off_at_shutdown(start_api: StartApi, database_url: str) -> None:
    api = start_api(database_url, module=TEST_ROUTES, SHUTDOWN_TIMEOUT_SECONDS="1", SHUTDOWN_DRAIN_SECONDS="0.1")
    with ThreadPoolExecutor(1) as threads:
        endless = threads.submit(patient.get, f"{api.url}/test/slow?seconds=60")
        wait_for_work(api, 1)
        began = time.monotonic()
        assert api.stop() == 0
        assert time.monotonic() - began < KILL_TIMEOUT_SECONDS / 3
        assert endless.result().status_code == 503
        assert endless.result().json()["code"] == "server.stopping"
    assert "Traceback" not in api.log()


def test_silent_reader_does_not_delay_shutdown(start_api: StartApi, database_url: str) -> None:
    api = start_api(database_url, SHUTDOWN_TIMEOUT_SECONDS="1")
    with socket.create_connection(("127.0.0.1", api.port)) as client:
        client.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: api\r\n\r\n" * 10_000)
        time.sleep(0.5)
        began = time.monotonic()
        assert api.stop() == 0
        assert time.monotonic() - began < KILL_TIMEOUT_SECONDS / 3


def test_silent_reader_is_disconnected_and_slow_one_is_not(start_api: StartApi, database_url: str) -> None:
    api = start_api(database_url, module=TEST_ROUTES, UNREAD_TIMEOUT_SECONDS="5")
    asset = re.findall(r"[^\"]+bundle\.js", patient.get(f"{api.url}/docs").text)[0]
    size = len(patient.get(api.url + asset).content)
    times = 12
    assert size * times > 10_000_000, "it fits into the sockets' buffers"

    def holds(client: socket.socket) -> bool:
        of_server = psutil.Process(api.process.pid).net_connections()
        return client.getsockname()[1] in {each.raddr.port for each in of_server if each.raddr}

    with socket.socket() as silent, socket.socket() as slow:
        for client in (silent, slow):
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.settimeout(20)
            client.connect(("127.0.0.1", api.port))
            client.sendall(f"GET {asset} HTTP/1.1\r\nHost: x\r\n\r\n".encode() * times)
        wait_until(lambda: holds(silent))
        read = 0
        for _ in range(80):
            read += len(slow.recv(65536))
            time.sleep(0.1)
        wait_until(lambda: not holds(silent))
        while read < size * times:
            received = len(slow.recv(1 << 20))
            assert received
            read += received


def test_blocked_thread_does_not_prevent_exit(start_api: StartApi, database_url: str) -> None:
    api = start_api(database_url, module=TEST_ROUTES, SHUTDOWN_TIMEOUT_SECONDS="1", EXIT_WITHIN_SECONDS="3")
    with ThreadPoolExecutor(1) as threads:
        threads.submit(patient.get, f"{api.url}/test/blocked-thread?seconds=60")
        wait_for_work(api, 1)
        began = time.monotonic()
        assert api.stop() == 0
        assert time.monotonic() - began < KILL_TIMEOUT_SECONDS / 3
    assert "shutdown timed out: seconds=3" in api.log()


@pytest.mark.parametrize("in_flight", [False, True])
def test_frozen_database_does_not_delay_shutdown(
    start_api: StartApi, own_postgres: Postgres, *, in_flight: bool
) -> None:
    api = start_api(own_postgres.url(), module=TEST_ROUTES, SHUTDOWN_TIMEOUT_SECONDS="1")
    assert patient.get(f"{api.url}/test/setting?name=port").status_code == 200  # the pool has a connection

    own_postgres.signal(signal.SIGSTOP)
    with ThreadPoolExecutor(1) as threads:
        if in_flight:
            threads.submit(patient.get, f"{api.url}/test/setting?name=port")
            wait_for_work(api, 1)
        began = time.monotonic()
        assert api.stop() == 0
        assert time.monotonic() - began < KILL_TIMEOUT_SECONDS / 3


def test_database_connections_are_closed_cleanly(start_api: StartApi, empty_database_url: str) -> None:
    api = start_api(empty_database_url, module=TEST_ROUTES)
    api.get_health()
    patient.get(f"{api.url}/test/setting?name=port")
    api.stop()
    time.sleep(0.2)

    query = "SELECT sessions_abandoned FROM pg_stat_database WHERE datname = current_database()"
    assert databases.fetch_value(empty_database_url, query) == 0


def test_signal_during_start_ends_the_process(database_url: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "audifi.serve"],
        env=environment(**MINIMAL | {"DATABASE_URL": database_url, "HOST": "127.0.0.1", "PORT": str(free_port())}),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    time.sleep(0.05)
    process.terminate()
    assert process.wait(30) in {0, -signal.SIGTERM}


def test_idle_connection_outlives_proxies_timeouts(start_api: StartApi, database_url: str) -> None:
    """hyper keeps idle connections for 90 s, nginx for 60 s. If the proxy closes first, no request is lost."""
    api = start_api(database_url)
    with socket.create_connection(("127.0.0.1", api.port)) as connection:
        connection.sendall(b"GET /api/v1/health HTTP/1.1\r\nHost: api\r\n\r\n")
        assert wire.read_answer(connection).startswith(b"HTTP/1.1 200 ")
        connection.settimeout(7)  # uvicorn's default is 5 s
        with pytest.raises(TimeoutError):
            connection.recv(1)
