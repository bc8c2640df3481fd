"""What every answer has in common, asked over HTTP of an app with routes that go wrong in each way."""

import httpx2
import pytest

from tests.support.edge_app import ORIGIN

PREFLIGHT = {"Access-Control-Request-Method": "PATCH", "Access-Control-Request-Headers": "authorization,x-request-id"}


ANSWERS = [
    ("GET", "/things", 200),
    ("GET", "/things?limit=x", 422),
    ("DELETE", "/things", 405),
    ("GET", "/nowhere", 404),
    ("GET", "/problem", 401),
    ("GET", "/crash", 500),
    ("GET", "/database/terminated", 503),
    ("POST", "/things", 422),
]


@pytest.mark.parametrize(("method", "path", "status"), ANSWERS)
def test_a_page_of_an_allowed_origin_can_read_every_answer(
    client: httpx2.Client, method: str, path: str, status: int
) -> None:
    answer = client.request(method, path, headers={"Origin": ORIGIN})

    assert answer.status_code == status
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert answer.headers["access-control-allow-credentials"] == "true"
    exposed = answer.headers["access-control-expose-headers"]
    assert set(exposed.split(", ")) == {
        "ETag",
        "X-Request-ID",
        "Retry-After",
        "RateLimit",
        "RateLimit-Policy",
        "WWW-Authenticate",
    }
    assert "Origin" in answer.headers["vary"]


def test_a_page_of_an_allowed_origin_can_read_that_its_body_is_too_large(client: httpx2.Client) -> None:
    answer = client.post("/things", content=b"x" * 100_000, headers={"Origin": ORIGIN})

    assert answer.status_code == 413
    assert answer.headers["access-control-allow-origin"] == ORIGIN


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


@pytest.mark.parametrize("origin", OTHER_ORIGINS)
def test_a_page_of_any_other_origin_can_read_nothing(client: httpx2.Client, origin: str) -> None:
    for path in ("/things", "/crash"):
        answer = client.get(path, headers={"Origin": origin})

        assert "access-control-allow-origin" not in answer.headers
        assert "Origin" in answer.headers["vary"]  # a cache must not give this one to a page that is allowed


def test_a_preflight_of_an_allowed_origin_is_granted(client: httpx2.Client) -> None:
    answer = client.options("/things", headers={"Origin": ORIGIN} | PREFLIGHT)

    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert answer.headers["access-control-allow-methods"] == "GET, POST, PATCH, PUT, DELETE"
    assert {"Authorization", "Content-Type", "X-Request-ID"} < set(
        answer.headers["access-control-allow-headers"].split(", ")
    )
    assert answer.headers["access-control-max-age"] == "7200"
    assert "Origin" in answer.headers["vary"]
    assert answer.headers["x-request-id"]


@pytest.mark.parametrize("origin", OTHER_ORIGINS)
def test_a_preflight_of_any_other_origin_is_not_granted(client: httpx2.Client, origin: str) -> None:
    answer = client.options("/things", headers={"Origin": origin} | PREFLIGHT)

    assert_preflight_refused(answer)
    assert "access-control-allow-origin" not in answer.headers
    assert "Origin" in answer.headers["vary"]


@pytest.mark.parametrize(
    "asked", [{"Access-Control-Request-Method": "TRACE"}, {"Access-Control-Request-Headers": "x-forwarded-for"}]
)
def test_a_preflight_for_more_than_there_is_to_allow_is_not_granted(
    client: httpx2.Client, asked: dict[str, str]
) -> None:
    assert_preflight_refused(client.options("/things", headers={"Origin": ORIGIN} | PREFLIGHT | asked))


def assert_preflight_refused(answer: httpx2.Response) -> None:
    """It is a problem like any other."""
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "cors.refused"
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize(("method", "path", "status"), [*ANSWERS, ("OPTIONS", "/things", 405)])
def test_every_answer_tells_browsers_to_do_nothing_with_it(
    client: httpx2.Client, method: str, path: str, status: int
) -> None:
    answer = client.request(method, path)

    assert answer.status_code == status
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert answer.headers["x-request-id"]


def test_browsers_are_told_to_stay_on_https_when_they_are_on_it(client: httpx2.Client) -> None:
    assert "strict-transport-security" not in client.get("/things").headers

    for path in ("/things", "/crash"):
        answer = client.get(path, headers={"Fly-Forwarded-Proto": "https"})

        assert answer.headers["strict-transport-security"] == "max-age=31536000"
