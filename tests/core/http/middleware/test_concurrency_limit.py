"""More than can be done is sent away at once, by a real server that is really busy."""

import asyncio
import json
import re
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, cast

import httpx2
import pytest
from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

from audifi.core.http.middleware.concurrency_limit import REFUSALS_A_TURN, Overload, OverloadMiddleware
from audifi.core.http.protocol import PIPELINE_MAX_REQUESTS
from dev.postgres import Postgres
from tests.support import edge_app, wire
from tests.support.api import APP_URL, Api
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow  # a server for each, which is kept busy for some seconds

BOUND = 8
ME = "/api/v1/auth/me"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@pytest.fixture
def api(start_api: Callable[..., Api], migrated_database_url: str) -> Api:
    return start_slow_api(start_api, migrated_database_url)


def start_slow_api(start_api: Callable[..., Api], database_url: str, **variables: str) -> Api:
    module = "tests.support.api_with_test_routes"
    return start_api(database_url, module=module, MAX_CONCURRENT_REQUESTS=str(BOUND), **variables)


def ask(api: Api, path: str = ME, **headers: str) -> httpx2.Response:
    return httpx2.get(api.url + path, headers=headers, timeout=15)


@contextmanager
def sent(api: Api, request: str, number: int = BOUND, buffer: int | None = None) -> Iterator[list[socket.socket]]:
    """So many connections, each of which has sent this and reads nothing."""
    with ExitStack() as stack:
        connections = []
        for _ in range(number):
            connection = stack.enter_context(socket.socket())
            if buffer:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
            connection.connect(("127.0.0.1", api.port))
            connection.settimeout(15)
            connection.sendall(request.encode())
            connections.append(connection)
        yield connections


@contextmanager
def busy(api: Api, path: str = "/test/slow?seconds=6") -> Iterator[list[socket.socket]]:
    """As much is in work as may be."""
    with sent(api, f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n") as connections:
        wait_until(lambda: ask(api).status_code == 503)
        yield connections


def status(connection: socket.socket) -> str:
    with connection.makefile("rb") as answer:
        return answer.readline().split()[1].decode()


def test_what_comes_to_a_busy_server_is_sent_away_at_once_with_a_problem(api: Api) -> None:
    with busy(api) as connections:
        began = time.monotonic()
        answer = ask(api, Origin=APP_URL, **{"X-Request-ID": "mine"})
        seconds = time.monotonic() - began
        statuses = [status(connection) for connection in connections]

    assert seconds < 4
    assert statuses == ["200"] * BOUND
    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["code"] == "server.overloaded"
    assert problem["request_id"] == answer.headers["x-request-id"] == "mine"
    assert problem["instance"] == ME
    assert 1 <= int(answer.headers["retry-after"]) <= 5
    assert answer.headers["access-control-allow-origin"] == APP_URL
    assert "Retry-After" in answer.headers["access-control-expose-headers"]
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert ask(api).status_code == 401


def test_a_busy_server_tells_each_page_what_it_may_read(api: Api) -> None:
    origins = [APP_URL, "https://evil.test", "", APP_URL]
    with busy(api):
        answers = [ask(api, **({"Origin": origin} if origin else {})) for origin in origins]

    assert {answer.json()["code"] for answer in answers} == {"server.overloaded"}
    allowed = [answer.headers.get("access-control-allow-origin") for answer in answers]
    assert allowed == [APP_URL, None, None, APP_URL]
    assert len({answer.json()["request_id"] for answer in answers}) == len(answers)
    assert [answer.headers["x-request-id"] for answer in answers] == [answer.json()["request_id"] for answer in answers]


def test_a_busy_server_says_that_it_is_healthy(api: Api) -> None:
    with busy(api):
        healths = [api.get_health() for _ in range(3)]
        assert ask(api).status_code == 503

    assert {health.status_code for health in healths} == {200}
    assert min(health.elapsed.total_seconds() for health in healths) < 2


def test_a_busy_server_answers_preflights(api: Api) -> None:
    headers = {"Origin": APP_URL, "Access-Control-Request-Method": "PATCH"}
    with busy(api):
        assert httpx2.options(api.url + ME, headers=headers).status_code == 200
        assert ask(api).status_code == 503


def test_as_many_as_may_be_are_in_work_and_no_more(api: Api) -> None:
    """Each that leaves makes place for one."""
    with busy(api) as connections, sent(api, "GET /test/slow?seconds=6 HTTP/1.1\r\nHost: x\r\n\r\n") as refused:
        assert [status(each) for each in refused] == ["503"] * BOUND
        assert [status(each) for each in connections] == ["200"] * BOUND
    with busy(api):
        pass


def test_what_was_sent_away_isnt_counted_for_its_client(api: Api) -> None:
    before = ask(api).headers["ratelimit"]
    with busy(api):
        assert "ratelimit" not in ask(api).headers
    assert before.startswith('"client";r=')


def test_bodies_that_are_slow_to_come_keep_nobody_out(api: Api) -> None:
    head = (
        "POST /api/v1/auth/refresh HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 40\r\n\r\n"
    )
    with sent(api, head + '{"refresh_', 3 * BOUND) as connections:
        time.sleep(1)
        assert ask(api).status_code == 401
        for connection in connections[:BOUND]:
            connection.sendall(json.dumps({"token": "x" * 40})[:30].encode())
        assert {status(connection) for connection in connections[:BOUND]} <= {"401", "422", "400"}


def test_of_bodies_that_come_later_than_their_heads_as_many_are_taken_as_may_be_in_work(api: Api) -> None:
    wants = "POST /test/slow?seconds=6 HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n"
    with ExitStack() as stack:
        connections = []
        for _ in range(3 * BOUND):
            [connection] = stack.enter_context(sent(api, f"{wants}Expect: 100-continue\r\n\r\n", 1))
            assert connection.recv(len(CONTINUE), socket.MSG_WAITALL) == CONTINUE  # it has been taken, and waits
            connections.append(connection)
        for connection in connections:
            connection.sendall(b"[]")
        answers = [wire.read_answer(connection) for connection in connections]

    statuses = [answer.split()[1] for answer in answers]
    assert Counter(statuses) == {b"200": BOUND, b"503": 2 * BOUND}
    for answer in answers:
        if answer.startswith(b"HTTP/1.1 503 "):
            assert b'"code": "server.overloaded"' in answer
            assert re.search(rb"\r\nretry-after: [1-5]\r\n", answer)


def test_what_only_looks_like_a_preflight_needs_a_place(api: Api) -> None:
    with busy(api):
        for headers in ({}, {"Origin": APP_URL}, {"Access-Control-Request-Method": "PATCH"}):
            assert httpx2.options(api.url + ME, headers=headers).json()["code"] == "server.overloaded"


def test_answers_that_are_slow_to_be_read_keep_nobody_out(api: Api) -> None:
    page = ask(api, "/docs").text
    asset = next(part for part in page.split('"') if part.endswith("bundle.js"))
    times = 12
    assert len(ask(api, asset).content) * times > 10_000_000, "it fits into the sockets' buffers"

    with sent(api, f"GET {asset} HTTP/1.1\r\nHost: x\r\n\r\n" * times, 3 * BOUND, buffer=4096):
        time.sleep(2)
        wait_until(lambda: ask(api).status_code == 401)


def test_the_log_tells_of_many_that_were_sent_away_in_a_line_a_second(api: Api) -> None:
    with busy(api, "/test/slow?seconds=8") as connections, httpx2.Client(base_url=api.url) as client:
        before = api.log()
        began = time.monotonic()
        for _ in range(30):
            assert client.get(ME).status_code == 503
        seconds = time.monotonic() - began
        said = api.log().removeprefix(before)
        for connection in connections:
            status(connection)
    with httpx2.Client(base_url=api.url) as client:
        assert client.get(ME).status_code == 401

    assert said.count("server.overloaded") <= seconds + 1
    assert f"GET {ME} 503" not in said
    wait_until(lambda: f"GET {ME} 401" in api.log())


def test_a_connection_whose_request_was_sent_away_goes_on(api: Api) -> None:
    with httpx2.Client(base_url=api.url) as client:
        with busy(api) as connections:
            refusals = [
                client.get(ME),
                client.head(ME),
                client.post("/api/v1/auth/refresh", json={"refresh_token": "x" * 2000}),
                client.get(ME, headers={"Connection": "close"}),
            ]
            streams = {id(answer.extensions["network_stream"]) for answer in refusals}
            assert {status(connection) for connection in connections} == {"200"}
        assert client.get(ME).status_code == 401

    assert [answer.status_code for answer in refusals] == [503] * 4
    assert [bool(answer.content) for answer in refusals] == [True, False, True, True]
    assert refusals[1].headers["content-length"] > "0"
    assert [answer.headers.get("connection") for answer in refusals] == [None, None, None, "close"]
    assert len(streams) == 1


def test_of_thousands_of_requests_in_one_packet_a_busy_server_looks_at_some(api: Api) -> None:
    requests = f"GET {ME} HTTP/1.1\r\nHost: x\r\n\r\n" * 1500
    with busy(api), sent(api, requests, 1) as [connection], connection.makefile("rb") as answers:
        said = answers.read()

    assert said.count(b"HTTP/1.1 503") == 1 + PIPELINE_MAX_REQUESTS


def test_who_doesnt_read_how_often_they_are_sent_away_isnt_heard_any_more(database_url: str) -> None:
    """Else the answers would pile up here."""
    app = edge_app.create(database_url)
    overload: Overload = app.state.overload
    overload.max_concurrent_requests = 0
    request = b"GET /v1/things HTTP/1.1\r\nHost: x\r\n\r\n"
    with edge_app.running(app) as port, socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", port))
        with pytest.raises(OSError, match=r"reset|Broken pipe"):
            for _ in range(50_000):  # 20 MB of answers; the kernel holds 4
                before = overload.shed
                connection.sendall(request)
                deadline = time.monotonic() + 1  # which passes once, when nobody hears it
                while overload.shed == before and time.monotonic() < deadline:
                    time.sleep(0.0001)  # one by one: several at once would be too many
        with socket.create_connection(("127.0.0.1", port), timeout=10) as another:
            another.sendall(request)
            assert another.recv(100).startswith(b"HTTP/1.1 503 ")

    assert overload.shed > 1000


def test_whoever_is_at_work_has_a_turn_after_a_few_refusals() -> None:
    """One that waits for the database needs some turns of the loop; each would else go through all refusals."""
    overload = Overload(max_concurrent_requests=1)
    happened: list[str] = []

    async def run() -> None:
        for _ in range(3 * REFUSALS_A_TURN + 1):
            overload.shed_in_turn(lambda: happened.append("refusal"))
        for _ in range(6):
            await asyncio.sleep(0)
            happened.append("turn")
        overload.shed_in_turn(lambda: happened.append("later"))
        await asyncio.sleep(0)

    asyncio.run(run())

    turns = " ".join(happened).split("turn")
    assert max(turn.count("refusal") for turn in turns) == REFUSALS_A_TURN
    assert happened.count("refusal") == overload.shed - 1 == 3 * REFUSALS_A_TURN + 1
    assert happened[-1] == "later"


async def no_answer(_: object) -> None: ...


def test_who_looks_whether_the_client_is_still_there_is_in_work_meanwhile() -> None:
    """As streaming answers do, once the body is there."""
    overload = Overload(max_concurrent_requests=1)
    in_work = []

    async def receive_body_then_wait() -> dict[str, object]:
        in_work.append(overload.in_work)
        return {"type": "http.request", "body": b"", "more_body": False}

    async def app(_scope: Scope, receive: Receive, _send: Send) -> None:
        in_work.append(overload.in_work)
        await receive()
        in_work.append(overload.in_work)
        await receive()

    at_work = overload.take(OverloadMiddleware(app, overload=overload))
    assert at_work
    assert overload.take(app) is None
    asyncio.run(cast("Any", at_work)({"type": "http", "path": "/"}, receive_body_then_wait, no_answer))

    assert in_work == [1, 0, 1, 1]
    assert overload.in_work == 0


def test_connections_that_come_at_once_are_taken_soon_though_each_turn_of_the_loop_takes_long(api: Api) -> None:
    """One a turn would take 8 seconds."""
    with sent(api, "GET /test/busy-loop?seconds=15 HTTP/1.1\r\nHost: x\r\n\r\n", 1):
        time.sleep(0.5)
        began = time.monotonic()
        with sent(api, "GET /api/v1/health HTTP/1.1\r\nHost: x\r\n\r\n", 400) as connections:
            assert {status(connection) for connection in connections} == {"200"}
        seconds = time.monotonic() - began

    assert seconds < 5


def test_with_a_frozen_database_no_more_wait_for_it_than_may_be_in_work(
    start_api: Callable[..., Api], own_postgres: Postgres
) -> None:
    api = start_slow_api(start_api, own_postgres.url(), DATABASE_CONNECT_TIMEOUT_SECONDS="30")
    assert ask(api, "/test/slow-query?seconds=0").status_code == 200

    own_postgres.signal(signal.SIGSTOP)
    try:
        with busy(api, "/test/slow-query?seconds=0") as connections:
            healths = [api.get_health() for _ in range(2)]
            health = healths[0]
            assert min(each.elapsed.total_seconds() for each in healths) < 3
            assert health.json()["dependencies"] == {"database": "disconnected"}
            assert ask(api).json()["code"] == "server.overloaded"
            own_postgres.signal(signal.SIGCONT)
            assert {status(connection) for connection in connections} == {"200"}
    finally:
        own_postgres.signal(signal.SIGCONT)

    assert ask(api).status_code == 401


ANSWERS = ["/things", "/nowhere", "/problem", "/crash", "/crash/while-answering", "/large", "/database/terminated"]


def test_whatever_becomes_of_a_request_it_leaves(database_url: str) -> None:
    app: FastAPI = edge_app.create(database_url)
    overload = app.state.overload
    with edge_app.running(app) as port, httpx2.Client(base_url=f"http://127.0.0.1:{port}/v1") as client:
        for path in ANSWERS:
            try:
                client.get(path)
            except httpx2.RemoteProtocolError:
                assert path == "/crash/while-answering"
        client.post("/things", content=b"x" * 100_000)
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(b"POST /v1/things HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n")  # and goes away
        wait_until(lambda: cast("int", overload.in_work) == 0)

    assert overload.shed == 0
