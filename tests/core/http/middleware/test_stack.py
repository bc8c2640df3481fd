"""The middleware's handling of every request and response, over HTTP."""

import asyncio
import socket
import time
from collections.abc import Iterator

import httpx2
import pytest

from audifi.core.http.middleware import stack
from tests.support import edge_app, patient
from tests.support.edge_app import ORIGIN
from tests.support.waiting import wait_until

RESPONSES = [
    ("GET", "/things", 200),
    ("HEAD", "/things", 200),
    ("GET", "/things?limit=x", 422),
    ("DELETE", "/things", 405),
    ("OPTIONS", "/things", 405),
    ("GET", "/nowhere", 404),
    ("GET", "/problem", 401),
    ("GET", "/crash", 500),
    ("GET", "/database/terminated", 503),
    ("POST", "/things", 422),
]


@pytest.mark.parametrize(("method", "path", "status"), RESPONSES)
def test_every_response_has_default_headers(client: httpx2.Client, method: str, path: str, status: int) -> None:
    answer = client.request(method, path)

    assert answer.status_code == status
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert answer.headers["x-request-id"]


def test_route_may_replace_default_header(client: httpx2.Client) -> None:
    answer = client.get("/page", headers={"Origin": ORIGIN})

    assert answer.headers.get_list("content-security-policy") == ["default-src 'self'"]
    assert answer.headers.get_list("cache-control") == ["max-age=60"]
    assert answer.headers.get_list("vary") == ["Accept", "Origin"]


def test_https_responses_have_hsts(client: httpx2.Client) -> None:
    assert "strict-transport-security" not in client.get("/things").headers

    for path in ("/things", "/crash"):
        answer = client.get(path, headers={"Fly-Forwarded-Proto": "https"})

        assert answer.headers["strict-transport-security"] == "max-age=31536000"


def get_request_id(client: httpx2.Client, **headers: str) -> str:
    """Return the response's request id, which the route also sees."""
    answer = client.post("/things", json={"token": "t", "email": "a@b"}, headers=headers)
    request_id: str = answer.headers["x-request-id"]
    assert answer.json()["request_id"] == request_id
    return request_id


def test_request_without_id_gets_one(client: httpx2.Client) -> None:
    ids = {get_request_id(client) for _ in range(5)}

    assert len(ids) == 5
    assert all(len(each) == 32 and each.isalnum() for each in ids)


@pytest.mark.parametrize("value", ["a", "client-1.2_3", "A" * 64])
def test_valid_request_id_is_kept(client: httpx2.Client, value: str) -> None:
    assert get_request_id(client, **{"X-Request-ID": value}) == value


@pytest.mark.parametrize("value", ["", "a b", "a" * 65, "a/b", "<b>", "a,b", "a\tb", "é", '"a"', "a\\n"])
def test_invalid_request_id_is_replaced(client: httpx2.Client, value: str) -> None:
    request_id = client.get("/things", headers=[(b"X-Request-ID", value.encode())]).headers["x-request-id"]

    assert len(request_id) == 32
    assert request_id.isalnum()


def test_problem_has_the_request_id(client: httpx2.Client) -> None:
    for path in ("/problem", "/crash", "/nowhere", "/things?limit=x"):
        answer = client.get(path, headers={"X-Request-ID": "mine"})

        assert answer.json()["request_id"] == answer.headers["x-request-id"] == "mine"


def test_head_answers_as_get_without_body(client: httpx2.Client) -> None:
    for path in ("/things", "/problem", "/nowhere"):
        head, get = (client.request(method, path, headers={"X-Request-ID": "a"}) for method in ("HEAD", "GET"))

        assert (head.status_code, head.content) == (get.status_code, b"")
        changing = {"date": "", "ratelimit": ""}
        assert {**head.headers, **changing} == {**get.headers, **changing}
    assert client.head("/uploads").status_code == 405


@pytest.mark.parametrize(
    ("version", "status", "code"),
    [
        ("", 400, "http_version.missing"),
        (" HTTP/0.9", 400, "http_version.missing"),
        (" HTTP/2.0", 505, "http_version.unsupported"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_other_http_version_is_refused(
    client: httpx2.Client, method: str, version: str, status: int, code: str
) -> None:
    head = f"{method} /v1/things{version}\r\nHost: a\r\nOrigin: {ORIGIN}\r\nAccess-Control-Request-Method: GET\r\n\r\n"
    with socket.create_connection(("127.0.0.1", client.base_url.port or 0), timeout=10) as connection:
        connection.sendall(head.encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b""))  # up to the end of the connection

    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert f'"code": "{code}"'.encode() in answer


def test_http_1_0_is_answered(client: httpx2.Client) -> None:
    with socket.create_connection(("127.0.0.1", client.base_url.port or 0), timeout=10) as connection:
        connection.sendall(b"GET /v1/things HTTP/1.0\r\n\r\n")

        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")


@pytest.fixture
def counted(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, list[int]]]:
    """A server's port, and the statuses that its requests are counted with."""
    monkeypatch.setattr(stack, "HANG_UP_CHECK_SECONDS", 0.1)
    app = edge_app.create(database_url)
    statuses: list[int] = []

    def count(_method: str, _route: str, status: int, _seconds: float) -> None:
        statuses.append(status)

    monkeypatch.setattr(app.state.metrics, "count_request", count)
    with edge_app.running(app) as port:
        yield port, statuses


@pytest.mark.parametrize(
    "request_line",
    [b"GET /v1/slow HTTP/1.1\r\n", b"GET /v1/large HTTP/1.1\r\n", b"POST /v1/things HTTP/1.1\r\nContent-Length: 9\r\n"],
    ids=["before the response", "within the response", "within the body"],
)
def test_client_that_hangs_up_is_counted_as_499(counted: tuple[int, list[int]], request_line: bytes) -> None:
    port, statuses = counted
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", port))
        connection.sendall(request_line + b"Host: a\r\n\r\n")
        time.sleep(0.3)

    wait_until(lambda: bool(statuses))
    assert statuses == [499]


def test_slow_request_of_present_client_is_counted_as_200(counted: tuple[int, list[int]]) -> None:
    port, statuses = counted

    assert patient.get(f"http://127.0.0.1:{port}/v1/slow").status_code == 200
    wait_until(lambda: statuses == [200])


def test_websocket_gets_the_clients_address(database_url: str) -> None:
    app = edge_app.create(database_url)
    sent: list[dict[str, object]] = []

    async def receive() -> dict[str, object]:
        return {"type": "websocket.connect"}

    async def send(message: object) -> None:
        assert isinstance(message, dict)
        sent.append(message)

    headers = [(b"fly-client-ip", b"203.0.113.7"), (b"fly-forwarded-proto", b"https"), (b"x-request-id", b"mine")]
    scope = {"type": "websocket", "path": "/v1/socket", "headers": headers, "client": ("127.0.0.1", 1), "scheme": "ws"}
    asyncio.run(app(scope | {"query_string": b"", "subprotocols": [], "state": {}}, receive, send))

    assert {"type": "websocket.send", "text": "203.0.113.7 wss mine"} in sent
