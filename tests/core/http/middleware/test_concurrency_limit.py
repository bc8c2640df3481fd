"""The concurrency limit, alone and in a busy server."""

import asyncio
import logging
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import httpx2
import pytest
from fastapi import FastAPI

from audifi.core.http.middleware import concurrency_limit
from audifi.core.http.middleware.concurrency_limit import ConcurrencyLimit
from audifi.core.http.problems import Problem
from dev.postgres import Postgres
from tests.support import edge_app, patient, wire
from tests.support.api import APP_URL, Api
from tests.support.waiting import wait_until

LIMIT = 8
ME = "/api/v1/auth/me"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def test_waiting_requests_get_places_in_order() -> None:
    limit = ConcurrencyLimit(1)
    order: list[int] = []

    async def work(number: int) -> None:
        await limit.acquire()
        order.append(number)
        await asyncio.sleep(0)
        limit.release()

    async def run() -> None:
        await asyncio.gather(*map(work, range(5)))

    asyncio.run(run())
    assert order == [0, 1, 2, 3, 4]
    assert (limit.in_flight, limit.waiting, limit.rejected) == (0, 0, 0)


def test_request_without_place_is_rejected(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(concurrency_limit, "WAIT_SECONDS", 0.01)
    limit = ConcurrencyLimit(1)

    async def reject() -> int:
        with pytest.raises(Problem) as caught:
            await limit.acquire()
        assert (caught.value.status, caught.value.code) == (503, "server.overloaded")
        return int(dict(caught.value.headers)["Retry-After"])

    async def run() -> list[int]:
        await limit.acquire()
        waits = [await reject() for _ in range(6)]
        limit.release()
        await limit.acquire()
        return waits

    with caplog.at_level(logging.WARNING):
        assert asyncio.run(run()) == [1, 2, 3, 4, 5, 1]
    assert limit.rejected == 6
    assert [record.getMessage() for record in caplog.records] == ["overloaded: in_flight=1 rejected=1"]


def test_number_of_waiting_requests_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(concurrency_limit, "MAX_WAITING", 2)
    monkeypatch.setattr(concurrency_limit, "WAIT_SECONDS", 60)
    limit = ConcurrencyLimit(1)

    async def run() -> None:
        await limit.acquire()
        waiting = [asyncio.create_task(limit.acquire()) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(Problem):
            await limit.acquire()
        limit.release()
        await waiting[0]
        waiting[1].cancel()
        await asyncio.wait(waiting)

    asyncio.run(run())
    assert (limit.in_flight, limit.waiting) == (1, 0)


# In a server


@pytest.fixture
def api(start_api: Callable[..., Api], migrated_database_url: str) -> Api:
    return start_slow_api(start_api, migrated_database_url)


def start_slow_api(start_api: Callable[..., Api], database_url: str, **variables: str) -> Api:
    module = "tests.support.api_with_test_routes"
    return start_api(database_url, module=module, MAX_CONCURRENT_REQUESTS=str(LIMIT), **variables)


def ask(api: Api, path: str = ME, **headers: str) -> httpx2.Response:
    return patient.get(api.url + path, headers=headers)


@contextmanager
def sent(api: Api, request: str, number: int = LIMIT, buffer: int | None = None) -> Iterator[list[socket.socket]]:
    """Open connections that have sent the request and don't read the response."""
    with ExitStack() as stack:
        connections = []
        for _ in range(number):
            connection = stack.enter_context(socket.socket())
            if buffer:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
            connection.connect(("127.0.0.1", api.port))
            connection.settimeout(30)
            connection.sendall(request.encode())
            connections.append(connection)
        yield connections


@contextmanager
def busy(api: Api, path: str = "/test/slow?seconds=8") -> Iterator[list[socket.socket]]:
    """Reach the concurrency limit."""
    with sent(api, f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n") as connections:
        wait_until(lambda: ask(api).status_code == 503)
        yield connections


def status(connection: socket.socket) -> str:
    with connection.makefile("rb") as answer:
        return answer.readline().split()[1].decode()


@pytest.mark.slow
def test_busy_server_rejects_with_readable_problem(api: Api) -> None:
    with busy(api) as connections:
        answer = ask(api, Origin=APP_URL, **{"X-Request-ID": "mine"})
        head = patient.head(api.url + ME)
        statuses = [status(connection) for connection in connections]

    assert statuses == ["200"] * LIMIT
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (503, "server.overloaded")
    assert problem["request_id"] == answer.headers["x-request-id"] == "mine"
    assert 1 <= int(answer.headers["retry-after"]) <= 5
    assert answer.headers["access-control-allow-origin"] == APP_URL
    assert (head.status_code, head.content) == (503, b"")
    assert ask(api).status_code == 401
    assert f"GET {ME} 503" not in api.log()
    assert "overloaded: in_flight=8" in api.log()


@pytest.mark.slow
def test_busy_server_answers_health_and_preflights(api: Api) -> None:
    headers = {"Origin": APP_URL, "Access-Control-Request-Method": "PATCH"}
    with busy(api):
        assert api.get_health().status_code == 200
        assert patient.options(api.url + ME, headers=headers).status_code == 200
        assert patient.options(api.url + ME).status_code == 503
        assert ask(api).status_code == 503


@pytest.mark.slow
def test_slow_bodies_occupy_no_place(api: Api) -> None:
    head = (
        "POST /api/v1/auth/refresh HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 40\r\n\r\n"
    )
    with sent(api, head + '{"refresh_', 3 * LIMIT) as connections:
        assert ask(api).status_code == 401
        assert int(ask(api, "/test/in-flight").text) == 0
        for connection in connections:
            connection.sendall(b"x" * 30)
        assert {status(connection) for connection in connections} == {"400"}


@pytest.mark.slow
def test_limit_counts_bodies_once_they_have_arrived(api: Api) -> None:
    head = "POST /test/slow?seconds=6 HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n"
    with sent(api, f"{head}Expect: 100-continue\r\n\r\n", 3 * LIMIT) as connections:
        for connection in connections:
            assert connection.recv(len(CONTINUE), socket.MSG_WAITALL) == CONTINUE
        for connection in connections:
            connection.sendall(b"[]")
        answers = [wire.read_answer(connection) for connection in connections]

    assert Counter(answer.split()[1] for answer in answers) == {b"200": LIMIT, b"503": 2 * LIMIT}


@pytest.mark.slow
def test_slow_readers_occupy_no_place(api: Api) -> None:
    asset = next(part for part in ask(api, "/docs").text.split('"') if part.endswith("bundle.js"))
    times = 12
    assert len(ask(api, asset).content) * times > 10_000_000, "it fits into the sockets' buffers"

    with sent(api, f"GET {asset} HTTP/1.1\r\nHost: x\r\n\r\n" * times, 3 * LIMIT, buffer=4096):
        wait_until(lambda: int(ask(api, "/test/in-flight").text) == 0)


@pytest.mark.slow
def test_frozen_database_is_awaited_by_limited_requests(start_api: Callable[..., Api], own_postgres: Postgres) -> None:
    api = start_slow_api(start_api, own_postgres.url(), DATABASE_CONNECT_TIMEOUT_SECONDS="30")
    assert ask(api, "/test/slow-query?seconds=0").status_code == 200

    own_postgres.signal(signal.SIGSTOP)
    try:
        with busy(api, "/test/slow-query?seconds=0") as connections:
            time.sleep(1.1)  # until the last probe's result isn't reused
            assert api.get_health().json()["dependencies"] == {"database": "disconnected"}
            own_postgres.signal(signal.SIGCONT)
            assert {status(connection) for connection in connections} == {"200"}
    finally:
        own_postgres.signal(signal.SIGCONT)

    assert ask(api).status_code == 401


ENDINGS = ["/things", "/nowhere", "/problem", "/crash", "/crash/while-answering", "/large", "/database/terminated"]


def test_place_is_released_however_a_request_ends(database_url: str) -> None:
    app: FastAPI = edge_app.create(database_url)
    limit: ConcurrencyLimit = app.state.concurrency_limit
    with edge_app.running(app) as port, httpx2.Client(base_url=f"http://127.0.0.1:{port}/v1") as client:
        for path in ENDINGS:
            try:
                client.get(path)
            except httpx2.RemoteProtocolError:
                assert path == "/crash/while-answering"
        client.post("/things", content=b"x" * 100_000)
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(b"POST /v1/things HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n")  # and hangs up
        client.get("/things")
        wait_until(lambda: limit.in_flight == 0)

    assert limit.rejected == 0
