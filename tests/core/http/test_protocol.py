"""What isn't a request, or comes too slowly or too long to be one, over sockets."""

import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from audifi.core.http import protocol
from tests.support import edge_app
from tests.support.wire import read_answer

pytestmark = pytest.mark.slow

GET = b"GET /v1/things HTTP/1.1\r\nHost: a\r\n"
POST = b"POST /v1/things HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"


@pytest.fixture(scope="module")
def port(database_url: str) -> Iterator[int]:
    with edge_app.running(edge_app.create(database_url)) as port:
        yield port


@pytest.fixture
def impatient_port(database_url: str) -> Iterator[int]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(protocol, "HEAD_TIMEOUT_SECONDS", 1)
        with edge_app.running(edge_app.create(database_url)) as port:
            yield port


def say(port: int, *parts: bytes, pause: float = 0) -> bytes:
    """Send each part, then read until the server closes the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        for part in parts:
            connection.sendall(part)
            time.sleep(pause)
        answer = b""
        while received := connection.recv(65536):
            answer += received
        return answer


def assert_problem(answer: bytes, status: int, code: str) -> None:
    head, _, body = answer.partition(b"\r\n\r\n")
    headers = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    assert head.startswith(f"HTTP/1.1 {status} ".encode())
    assert headers[b"content-type"] == b"application/problem+json"
    assert headers[b"connection"] == b"close"
    assert headers[b"cache-control"] == b"no-store"
    problem = json.loads(body)
    assert (problem["status"], problem["code"]) == (status, code)
    assert problem["request_id"].encode() == headers[b"x-request-id"]
    assert int(headers[b"content-length"]) == len(body)


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
        b"hello\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /v1/things HTTP/1.1\r\nHost a\r\n\r\n",
        b"GET /v1/things HTTP/1.1\r\n\0: a\r\n\r\n",
        POST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\nno number\r\n",
    ],
)
def test_what_is_no_request_gets_a_problem_all_the_same(port: int, sent: bytes) -> None:
    assert_problem(say(port, sent), 400, "request.not_http")


def test_a_route_that_is_at_work_when_the_body_goes_wrong_says_nothing_more(
    port: int, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its answer would be a second one."""
    monkeypatch.setattr(protocol, "LINGER_SECONDS", 4)
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(b"GET /v1/slow HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        time.sleep(0.2)
        connection.sendall(b"no number\r\n")
        assert_problem(read_answer(connection), 400, "request.not_http")
        time.sleep(2.5)

    assert not [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]


@pytest.mark.parametrize("start", [GET + b"X-Filler: ", b"GET /"])
def test_a_head_that_is_too_long_is_refused(port: int, start: bytes) -> None:
    """The read in which it began isn't counted, and takes as much as came meanwhile: 256 KiB with asyncio's loop."""
    part = b"a" * 16384

    assert_problem(say(port, start, *[part] * 24), 431, "request.head_too_large")


def test_many_small_headers_are_bounded_like_a_long_one(port: int) -> None:
    assert_problem(say(port, GET, *[b"X-Filler: a\r\n" * 1000] * 6), 431, "request.head_too_large")


def test_a_head_within_the_limit_is_read(port: int) -> None:
    answer = say(port, GET, b"Connection: close\r\n", *[b"X-Filler: " + b"a" * 8192 + b"\r\n"] * 7, b"\r\n")

    assert answer.startswith(b"HTTP/1.1 200 ")


def test_a_head_that_doesnt_come_to_an_end_is_given_up(impatient_port: int) -> None:
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", impatient_port), timeout=10) as connection:
        connection.sendall(GET)
        for _ in range(4):
            time.sleep(0.2)
            connection.sendall(b"X: a\r\n")  # what trickles in moves no deadline
        answer = read_answer(connection)

    assert_problem(answer, 408, "request.timeout")
    assert 0.9 < time.monotonic() - began < 9


def test_who_says_nothing_is_told_nothing(impatient_port: int) -> None:
    assert say(impatient_port) == b""


def test_the_next_head_of_a_connection_is_timed_too(impatient_port: int) -> None:
    with socket.create_connection(("127.0.0.1", impatient_port), timeout=10) as connection:
        connection.sendall(GET + b"\r\n")
        assert read_answer(connection).startswith(b"HTTP/1.1 200 ")
        connection.sendall(GET)
        assert_problem(read_answer(connection), 408, "request.timeout")


def test_a_connection_that_is_kept_open_isnt_cut_by_the_time_for_a_head(impatient_port: int) -> None:
    with socket.create_connection(("127.0.0.1", impatient_port), timeout=10) as connection:
        for _ in range(2):
            connection.sendall(GET + b"\r\n")
            assert read_answer(connection).startswith(b"HTTP/1.1 200 ")
            time.sleep(1.5)


def test_an_answer_that_takes_longer_than_a_head_may_is_given(impatient_port: int) -> None:
    with socket.create_connection(("127.0.0.1", impatient_port), timeout=10) as connection:
        connection.sendall(b"GET /v1/slow HTTP/1.1\r\nHost: a\r\n\r\n")

        assert read_answer(connection).startswith(b"HTTP/1.1 200 ")


def test_rubbish_behind_a_request_doesnt_take_its_answer_away(port: int) -> None:
    answer = say(port, b"GET /v1/slow HTTP/1.1\r\nHost: a\r\n\r\n", b"\0rubbish\r\n\r\n", pause=0.1)

    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.count(b"HTTP/1.1") == 1


def test_rubbish_behind_several_requests_doesnt_take_their_answers_away(port: int) -> None:
    answer = say(port, (GET + b"\r\n") * 3 + b"\0rubbish\r\n\r\n")

    assert answer.count(b"HTTP/1.1 200 ") == 3
    assert answer.count(b"HTTP/1.1") == 3


def test_many_that_never_finish_keep_nobody_else_waiting(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_TIMEOUT_SECONDS", 5)
    with ThreadPoolExecutor(50) as threads:
        waiting = [threads.submit(say, port, GET) for _ in range(50)]
        assert say(port, GET + b"Connection: close\r\n\r\n").startswith(b"HTTP/1.1 200 ")
        assert not all(each.done() for each in waiting)
        for each in waiting:
            assert_problem(each.result(), 408, "request.timeout")


TRAILERS = b"Transfer-Encoding: chunked\r\n\r\n0\r\n"


@pytest.mark.parametrize("name", ["X-Request-ID", "Fly-Client-IP", "Origin"])
def test_a_trailer_doesnt_pass_for_a_header(port: int, name: str) -> None:
    answer = say(port, GET + b"Connection: close\r\n" + TRAILERS + f"{name}: from-the-trailer\r\n\r\n".encode())

    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"from-the-trailer" not in answer


def test_trailers_are_bounded_like_headers(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n")
        connection.sendall(b"a: b\r\n" * 20_000)

        assert_problem(read_answer(connection), 431, "request.head_too_large")


@pytest.mark.parametrize("size", [66_000, 125_000, 1_000_000])
def test_a_head_that_comes_at_once_is_bounded_too(port: int, size: int) -> None:
    assert_problem(say(port, GET + b"X-Filler: " + b"a" * size + b"\r\n\r\n"), 431, "request.head_too_large")


def test_earlier_requests_dont_count_for_a_head(port: int) -> None:
    filled = GET + b"X-Filler: " + b"a" * 10_000 + b"\r\n"
    start, end = filled[:20], filled[20:]
    answer = say(port, (filled + b"\r\n") * 8 + start, end + b"Connection: close\r\n\r\n", pause=0.3)

    assert answer.count(b"HTTP/1.1 200 ") == 9


def test_the_message_before_doesnt_count_for_a_head_that_begins_behind_it(port: int) -> None:
    body = json.dumps({"token": "t"}).encode().ljust(60_000)
    post = POST + b"Content-Length: 60000\r\nX-Filler: "
    last = GET + b"Connection: close\r\nX-Filler: " + b"b" * 20_000
    answer = say(port, post, b"a\r\n\r\n" + body + last[:20], last[20:10_000], last[10_000:], b"\r\n\r\n", pause=0.3)

    assert answer.count(b"HTTP/1.1 200 ") == 2


def test_what_is_queued_is_bounded(port: int) -> None:
    """Those that are taken are answered, and then the connection ends."""
    answer = say(port, (b"GET /v1/slow HTTP/1.1\r\nHost: a\r\n\r\n") + (GET + b"\r\n") * 1000)

    assert 10 < answer.count(b"HTTP/1.1 200 ") <= protocol.PIPELINE_MAX_REQUESTS + 1
    assert answer.count(b"HTTP/1.1") == answer.count(b"HTTP/1.1 200 ")


def test_who_sends_more_while_answers_are_due_is_heard_when_they_are_given(port: int) -> None:
    slow = b"GET /v1/slow HTTP/1.1\r\nHost: a\r\n\r\n"
    last = GET + b"Connection: close\r\n\r\n"
    answer = say(port, slow * 2 + (GET + b"\r\n") * 10, (GET + b"\r\n") * 9 + last, pause=1)

    assert answer.count(b"HTTP/1.1 200 ") == 22


@pytest.mark.parametrize(
    "more",
    [b"\r\n", b"1", b"1\r\na\r\n"],
    ids=["a blank line", "the start of a chunk", "chunks that go on"],
)
def test_a_connection_that_is_kept_busy_by_next_to_nothing_ends(impatient_port: int, more: bytes) -> None:
    head = GET + (b"\r\n" if more == b"\r\n" else b"Transfer-Encoding: chunked\r\n\r\n")
    with socket.create_connection(("127.0.0.1", impatient_port), timeout=10) as connection:
        connection.sendall(head)
        assert read_answer(connection).startswith(b"HTTP/1.1 200 ")
        began = time.monotonic()
        connection.settimeout(0.3)
        ended = False
        while not ended and time.monotonic() - began < 15:
            try:
                if more != b"\r\n" or time.monotonic() - began < 0.2:
                    connection.sendall(more)
                ended = connection.recv(65536) == b""
            except TimeoutError:
                pass
            except ConnectionError:
                ended = True

    assert ended


def test_a_body_that_goes_wrong_after_the_answer_gets_no_second_one(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(GET + b"Transfer-Encoding: chunked\r\n\r\n")
        assert read_answer(connection).startswith(b"HTTP/1.1 200 ")
        connection.sendall(b"zz\r\n")

        assert connection.recv(65536) == b""


def test_a_body_that_nobody_wanted_but_comes_leaves_the_connection_as_it_was(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(b"POST /v1/nowhere HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n")
        assert read_answer(connection).startswith(b"HTTP/1.1 404 ")
        connection.sendall(b"body" + GET + b"\r\n")

        assert read_answer(connection).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("hosts", [b"", b"Host: a\r\nHost: b\r\n"])
def test_a_request_says_for_which_host_it_is_once(port: int, hosts: bytes) -> None:
    """RFC 9112, 3.2."""
    assert_problem(say(port, b"GET /v1/things HTTP/1.1\r\n" + hosts + b"\r\n"), 400, "request.not_http")


def test_http_1_0_needs_no_host(port: int) -> None:
    assert say(port, b"GET /v1/things HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200 ")


def test_a_refusal_is_no_place_for_scripts_either(port: int) -> None:
    answer = say(port, b"hello\r\n\r\n").lower()

    for header in (b"x-content-type-options: nosniff", b"content-security-policy: default-src 'none'"):
        assert header in answer


def test_who_hangs_up_with_answers_in_the_queue_is_no_failure_of_ours(
    port: int, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", port))
        connection.sendall((b"GET /v1/large HTTP/1.1\r\nHost: a\r\n\r\n") * 3)
        time.sleep(0.5)
    time.sleep(0.5)

    assert [record for record in caplog.records if record.levelname == "ERROR"] == []
