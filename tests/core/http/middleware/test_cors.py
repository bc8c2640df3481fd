"""CORS: what pages of allowed and other origins may send and read."""

import httpx2
import pytest

from tests.support.edge_app import ORIGIN

PREFLIGHT = {"Access-Control-Request-Method": "PATCH", "Access-Control-Request-Headers": "authorization,x-request-id"}
RESPONSES = [
    ("GET", "/things", 200),
    ("GET", "/things?limit=x", 422),
    ("DELETE", "/things", 405),
    ("GET", "/nowhere", 404),
    ("GET", "/problem", 401),
    ("GET", "/crash", 500),
    ("GET", "/database/terminated", 503),
    ("POST", "/things", 422),
]
OTHER_ORIGINS = [
    "null",
    "https://evil.test",
    "https://app.audifi.test.evil.test",
    "http://app.audifi.test",
    "https://app.audifi.test:8443",
    "https://app.audifi.test/",
    "https://APP.audifi.test",
    "*",
    "",
]


@pytest.mark.parametrize(("method", "path", "status"), RESPONSES)
def test_allowed_origin_can_read_every_response(client: httpx2.Client, method: str, path: str, status: int) -> None:
    answer = client.request(method, path, headers={"Origin": ORIGIN})

    assert answer.status_code == status
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert answer.headers["access-control-allow-credentials"] == "true"
    exposed = answer.headers["access-control-expose-headers"]
    assert set(exposed.split(", ")) == {
        "Content-Disposition",
        "ETag",
        "X-Request-ID",
        "Retry-After",
        "RateLimit",
        "RateLimit-Policy",
        "WWW-Authenticate",
    }
    assert "Origin" in answer.headers["vary"]


def test_allowed_origin_can_read_that_body_is_too_large(client: httpx2.Client) -> None:
    answer = client.post("/things", content=b"x" * 100_000, headers={"Origin": ORIGIN})

    assert answer.status_code == 413
    assert answer.headers["access-control-allow-origin"] == ORIGIN


@pytest.mark.parametrize("origin", OTHER_ORIGINS)
def test_other_origin_can_read_nothing(client: httpx2.Client, origin: str) -> None:
    for path in ("/things", "/crash"):
        answer = client.get(path, headers={"Origin": origin})

        assert not [name for name in answer.headers if name.startswith("access-control-")]
        assert "Origin" in answer.headers["vary"]  # a cache must not give this response to an allowed page


@pytest.mark.parametrize(
    "requested",
    [
        "authorization,x-request-id",
        "Content-Type, Idempotency-Key, If-Match, If-None-Match",
        "sentry-trace, baggage, traceparent, tracestate",
        "",
    ],
)
def test_preflight_of_allowed_origin_is_granted(client: httpx2.Client, requested: str) -> None:
    headers = {"Origin": ORIGIN} | PREFLIGHT | {"Access-Control-Request-Headers": requested}
    answer = client.options("/things", headers=headers)

    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert answer.headers["access-control-allow-methods"] == "GET, POST, PATCH, PUT, DELETE"
    allowed = {name.strip().lower() for name in answer.headers["access-control-allow-headers"].split(",")}
    assert {name.strip().lower() for name in requested.split(",") if name} <= allowed
    assert answer.headers["access-control-max-age"] == "7200"
    assert "Origin" in answer.headers["vary"]
    assert answer.headers["x-request-id"]


@pytest.mark.parametrize("origin", OTHER_ORIGINS)
def test_preflight_of_other_origin_is_refused(client: httpx2.Client, origin: str) -> None:
    answer = client.options("/things", headers={"Origin": origin} | PREFLIGHT)

    assert "APP_URL and ALLOWED_ORIGINS" in refusal(answer)
    assert "access-control-allow-origin" not in answer.headers
    assert "Origin" in answer.headers["vary"]


@pytest.mark.parametrize(
    ("requested", "detail"),
    [
        ({"Access-Control-Request-Method": "TRACE"}, "The method isn't allowed."),
        ({"Access-Control-Request-Headers": "authorization, X-Forwarded-For"}, "The header x-forwarded-for isn't"),
        ({"Access-Control-Request-Headers": "audifi-caller-secret"}, "The header audifi-caller-secret isn't"),
        ({"Access-Control-Request-Headers": "<b>"}, "A header isn't allowed."),
        ({"Access-Control-Request-Headers": "a" * 40}, "A header isn't allowed."),
    ],
)
def test_preflight_refusal_names_what_is_not_allowed(
    client: httpx2.Client, requested: dict[str, str], detail: str
) -> None:
    answer = client.options("/things", headers={"Origin": ORIGIN} | PREFLIGHT | requested)

    assert refusal(answer).startswith(detail)
    assert answer.headers["access-control-allow-origin"] == ORIGIN


def refusal(answer: httpx2.Response) -> str:
    """Return the detail of the problem."""
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "cors.refused"
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    return str(answer.json()["detail"])
