"""Request bodies that are too large or too slow, over real sockets."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import suppress

import httpx2
import pytest
from fastapi import FastAPI

from audifi.core.http.middleware import body_limit
from audifi.core.http.middleware.body_limit import MAX_BYTES
from tests.support import edge_app, patient
from tests.support.wire import read_answer

MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def app(database_url: str) -> FastAPI:
    return edge_app.create(database_url)


@pytest.fixture(scope="module")
def port(app: FastAPI) -> Iterator[int]:
    with edge_app.running(app) as port:
        yield port


def post(port: int, *parts: bytes, headers: str, path: str = "/v1/things") -> bytes:
    """Send each part, then read until the server closes the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        head = f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n{headers}\r\n\r\n"
        connection.sendall(head.encode())
        for part in parts:
            connection.sendall(part)
        answer = b""
        while received := connection.recv(65536):
            answer += received
        return answer


def assert_too_large(answer: bytes) -> None:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 413 ")
    assert b"\r\nconnection: close" in head.lower()
    assert b"\r\ncontent-type: application/problem+json" in head.lower()
    assert json.loads(body)["code"] == "request.too_large"


def document(size: int) -> bytes:
    start, end = b'{"token": "t", "email": "', b'@"}'
    return start + b"a" * (size - len(start) - len(end)) + end


def test_body_of_exactly_the_limit_is_read(port: int) -> None:
    url = f"http://127.0.0.1:{port}/v1/things"

    assert patient.post(url, content=document(MAX_BYTES), headers={"Content-Type": "application/json"}).is_success
    assert patient.post(url, content=document(MAX_BYTES + 1)).status_code == 413
    chunked = iter([document(MAX_BYTES)])
    assert patient.post(url, content=chunked, headers={"Content-Type": "application/json"}).is_success
    assert patient.post(url, content=iter([document(MAX_BYTES + 1)])).status_code == 413


def test_declared_size_over_limit_is_refused_before_body(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body_limit, "DISCARD_SECONDS", 4)
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        began = time.monotonic()
        connection.sendall(b"POST /v1/things HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n")
        answer = read_answer(connection)
        took = time.monotonic() - began
        while received := connection.recv(65536):
            answer += received
        closed_after = time.monotonic() - began

    assert_too_large(answer)
    assert took < body_limit.DISCARD_SECONDS
    assert closed_after < body_limit.DISCARD_SECONDS + 5


def test_oversized_body_gets_no_100_continue(port: int) -> None:
    """RFC 9110, 10.1.1."""
    assert_too_large(post(port, headers=f"Content-Length: {MEGABYTE}\r\nExpect: 100-continue"))


@pytest.fixture
def long_linger(monkeypatch: pytest.MonkeyPatch) -> None:
    """Discard for 9 s: longer than a busy machine needs, shorter than the clients' timeout of 10 s."""
    monkeypatch.setattr(body_limit, "DISCARD_SECONDS", 9)


@pytest.mark.usefixtures("long_linger")
def test_client_that_sends_body_first_reads_the_answer(port: int) -> None:
    """A reset of the connection would lose some responses."""
    for _ in range(20):
        began = time.monotonic()
        assert_too_large(post(port, b"x" * MEGABYTE, headers=f"Content-Length: {MEGABYTE}"))
        assert time.monotonic() - began < body_limit.DISCARD_SECONDS


@pytest.mark.usefixtures("long_linger")
def test_chunked_body_over_limit_is_refused(port: int) -> None:
    chunk = b"2710\r\n" + b"x" * 10_000 + b"\r\n"
    for _ in range(20):
        began = time.monotonic()
        assert_too_large(post(port, *[chunk] * 100, b"0\r\n\r\n", headers="Transfer-Encoding: chunked"))
        assert time.monotonic() - began < body_limit.DISCARD_SECONDS


def test_endless_chunked_body_is_refused(port: int) -> None:
    chunk = b"2710\r\n" + b"x" * 10_000 + b"\r\n"

    assert_too_large(post(port, *[chunk] * 10, headers="Transfer-Encoding: chunked"))


def test_oversized_body_reaches_no_route(app: FastAPI, port: int) -> None:
    assert_too_large(post(port, b"x" * MEGABYTE, headers=f"Content-Length: {MEGABYTE}", path="/v1/unread"))

    assert not hasattr(app.state, "unread")


@pytest.mark.parametrize("length", ["-1", "1e6", "0x10", "9" * 30, "1, 2", "+5", "abc"])
def test_invalid_content_length_gets_400(port: int, length: str) -> None:
    assert post(port, headers=f"Content-Length: {length}").startswith(b"HTTP/1.1 400 ")


def test_content_length_may_have_many_leading_zeros(port: int) -> None:
    """The server accepts them, but int() refuses more than 4300 digits."""
    zeros = "0" * 5000

    assert_too_large(post(port, headers=f"Content-Length: {zeros}{MEGABYTE}"))
    answer = post(port, b'{"token": "t"}', headers=f"Content-Length: {zeros}14\r\nConnection: close")
    assert answer.startswith(b"HTTP/1.1 200 ")
    answer = post(port, headers=f"Content-Length: {zeros}\r\nConnection: close")
    assert answer.startswith(b"HTTP/1.1 422 ")


@pytest.mark.usefixtures("long_linger")
def test_declared_gigabytes_are_refused_at_once(port: int) -> None:
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(b"POST /v1/things HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000000\r\n\r\n")
        answer = read_answer(connection)

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert time.monotonic() - began < body_limit.DISCARD_SECONDS


def test_connection_is_reused_after_body_within_limit(port: int) -> None:
    with httpx2.Client(base_url=f"http://127.0.0.1:{port}/v1") as client:
        for _ in range(2):
            answer = client.post("/things", json={"token": "t"})
            assert answer.is_success
            assert "connection" not in answer.headers


@pytest.fixture(scope="module")
def impatient_port(database_url: str) -> Iterator[int]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(body_limit, "TIMEOUT_SECONDS", 1)
        with edge_app.running(edge_app.create(database_url)) as port:
            yield port


def assert_too_slow(answer: bytes) -> None:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408 ")
    assert b"\r\nconnection: close" in head.lower()
    assert b"\r\ncontent-type: application/problem+json" in head.lower()
    assert json.loads(body)["code"] == "request.timeout"


def test_missing_body_times_out(impatient_port: int) -> None:
    began = time.monotonic()

    assert_too_slow(post(impatient_port, headers="Content-Length: 14"))
    assert 0.9 < time.monotonic() - began < body_limit.DISCARD_SECONDS + 7


def test_trickling_body_times_out(impatient_port: int) -> None:
    """The timeout is for the whole body, not for each chunk."""
    with socket.create_connection(("127.0.0.1", impatient_port), timeout=10) as connection:
        connection.sendall(b"POST /v1/things HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n")
        connection.settimeout(0.2)
        answer = b""
        for _ in range(20):
            connection.sendall(b"a")
            try:
                answer = connection.recv(65536)
                break
            except TimeoutError:
                pass
        connection.settimeout(10)
        answer = read_answer(connection, answer)

    assert_too_slow(answer)


def test_chunked_body_without_end_times_out(impatient_port: int) -> None:
    assert_too_slow(post(impatient_port, b"2\r\nab\r\n", headers="Transfer-Encoding: chunked"))


def test_body_in_parts_is_read(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        head = b"POST /v1/things HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 14\r\n\r\n"
        connection.sendall(head)
        for part in (b'{"tok', b'en":', b' "t"}'):
            time.sleep(0.2)
            connection.sendall(part)

        assert read_answer(connection).startswith(b"HTTP/1.1 200 ")


def test_response_may_take_longer_than_the_body_timeout(impatient_port: int) -> None:
    answer = patient.get(f"http://127.0.0.1:{impatient_port}/v1/slow")

    assert answer.status_code == 200


def test_hang_up_within_body_is_no_error(impatient_port: int, caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_connection(("127.0.0.1", impatient_port), timeout=10) as connection:
        connection.sendall(b"POST /v1/things HTTP/1.1\r\nHost: a\r\nContent-Length: 14\r\n\r\n{")
    time.sleep(0.5)

    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


def test_route_may_set_its_own_body_size(port: int) -> None:
    url = f"http://127.0.0.1:{port}/v1/uploads"

    assert patient.post(url, json="a" * 150_000).json() == 150_000
    assert patient.post(url, json="a" * 250_000).status_code == 413
    assert patient.post(url.replace("uploads", "unread"), json="a" * 150_000).status_code == 413


@pytest.mark.parametrize("request_line", ["POST /v1/optional", "CONNECT /v1/optional"])
def test_body_of_an_upgrade_is_never_another_request(port: int, request_line: str) -> None:
    """The parser ends such a request at its head, where a proxy forwards a body."""
    smuggled = b"GET /v1/things HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    head = f"{request_line} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\nContent-Length: {len(smuggled)}"
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(head.encode() + b"\r\n\r\n")
        answer = connection.recv(65536)
        with suppress(ConnectionError):  # the server has closed the connection
            connection.sendall(smuggled)
            while received := connection.recv(65536):
                answer += received

    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"\r\nconnection: close" in answer
