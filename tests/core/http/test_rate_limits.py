"""Rate limits over HTTP: per client, per account, per feature; on two machines and without the database."""

import socket
from collections.abc import Callable, Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Annotated, Any
from urllib.parse import urlsplit

import httpx2
import pytest
from fastapi import APIRouter, Depends, FastAPI, Header
from fastapi.testclient import TestClient
from pydantic import SecretStr

from audifi.core.clock import utc_now
from audifi.core.http import openapi, problems
from audifi.core.http.client_info import client_key
from audifi.core.http.rate_limits import rate_limited
from audifi.core.rate_limiting.approximate import ApproximateRateLimiter, ReplicatedCounters
from audifi.core.rate_limiting.limits import CounterKeys, Limit
from dev.postgres import Postgres
from tests.support import databases
from tests.support.app import App, Clock
from tests.support.clients import Client, new_ip
from tests.support.sendgrid import SendGrid
from tests.support.waiting import wait_until

HEALTH = "/api/v1/health"
ME = "/api/v1/auth/me"


def get(app: App, path: str = ME, *, ip: str, **headers: str) -> httpx2.Response:
    return app.http.get(path, headers={"Fly-Client-IP": ip, "Fly-Forwarded-Proto": "https", **headers})


def get_as(app: App, token: str) -> int:
    return get(app, ip=new_ip(), Authorization=f"Bearer {token}").status_code


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still at the start of a minute, so that no window ends during a test."""
    clock = Clock()
    clock.stop()
    clock.advance(seconds=60 - clock().timestamp() % 60)
    return clock


@pytest.fixture
def limited(start_app: Callable[..., App], migrated_database_url: str, clock: Clock) -> App:
    return start_app(migrated_database_url, clock=clock, client_requests_per_minute=5, account_requests_per_minute=3)


# --- per client ---


def test_response_has_the_remaining_quota(limited: App) -> None:
    ip = new_ip()
    headers = [get(limited, path, ip=ip).headers["ratelimit"] for path in (ME, "/api/v1/nowhere", "/", "/openapi.json")]

    assert [header.split(";")[:2] for header in headers] == [['"client"', f"r={n}"] for n in (4, 3, 2, 1)]
    assert all(0 < int(header.split("t=")[1]) <= 60 for header in headers)


def test_factor_multiplies_all_limits(
    start_app: Callable[..., App], migrated_database_url: str, clock: Clock, sendgrid: SendGrid
) -> None:
    app = start_app(
        migrated_database_url,
        clock=clock,
        environment="development",
        rate_limit_factor=3,
        client_requests_per_minute=6,
    )
    client = Client(app.http, sendgrid)
    answers = [client.request() for _ in range(16)]  # 5 of an address and client, times 3

    assert [answer.status_code for answer in answers] == [202] * 15 + [429]
    assert answers[-1].json()["detail"].startswith("At most 15 in 1 hour.")
    assert '"client";q=18;w=60' in answers[0].headers.get_list("ratelimit-policy")
    assert [get(app, ip=client.ip).status_code for _ in range(3)] == [401, 401, 429]


def test_client_above_its_limit_is_refused_for_a_minute(limited: App) -> None:
    ip = new_ip()
    assert [get(limited, ip=ip).status_code for _ in range(5)] == [401] * 5

    refused = get(limited, ip=ip, Origin="https://app.audifi.test")

    assert refused.status_code == 429
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json()["code"] == "rate_limit.exceeded"
    assert refused.json()["detail"].startswith("At most 5 in 1 minute. Try again in ")
    assert refused.headers["ratelimit-policy"] == '"client";q=5;w=60'
    wait = int(refused.headers["retry-after"])
    assert refused.headers["ratelimit"] == f'"client";r=0;t={wait}'
    assert refused.headers["access-control-allow-origin"] == "https://app.audifi.test"
    assert get(limited, ip=new_ip()).status_code == 401
    limited.clock.advance(seconds=wait)
    assert get(limited, ip=ip).status_code == 401


def test_ipv6_network_is_one_client(limited: App) -> None:
    statuses = [get(limited, ip=f"2001:db8:7:7::{number}").status_code for number in range(7)]

    assert statuses == [401] * 5 + [429] * 2


def test_health_is_never_refused(limited: App) -> None:
    ip = new_ip()
    responses = [get(limited, HEALTH, ip=ip) for _ in range(20)]

    assert {response.headers["content-type"] for response in responses} == {"application/json"}
    assert 429 not in {response.status_code for response in responses}
    assert "ratelimit" not in responses[0].headers
    assert get(limited, ip=ip).headers["ratelimit"].startswith('"client";r=4;')


@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_other_methods_of_the_health_path_are_limited(limited: App, method: str) -> None:
    headers = {"Fly-Client-IP": new_ip()}
    statuses = [limited.http.request(method, HEALTH, headers=headers).status_code for _ in range(6)]

    assert statuses == [405] * 5 + [429]


@pytest.mark.parametrize("body", ["Content-Length: 9", "Transfer-Encoding: chunked"])
def test_health_does_not_wait_for_a_body(limited: App, body: str) -> None:
    url = urlsplit(str(limited.http.base_url))
    with socket.create_connection((url.hostname or "", url.port or 80), timeout=5) as connection:
        connection.sendall(f"GET {HEALTH} HTTP/1.1\r\nHost: a\r\n{body}\r\n\r\n".encode())

        assert connection.recv(9) == b"HTTP/1.1 "


def test_preflight_is_not_counted(limited: App) -> None:
    ip = new_ip()
    headers = {"Origin": "https://app.audifi.test", "Access-Control-Request-Method": "GET", "Fly-Client-IP": ip}
    for _ in range(10):
        assert limited.http.options(ME, headers=headers).status_code == 200

    assert get(limited, ip=ip).status_code == 401


# --- per account ---


def test_account_above_its_limit_is_refused_anywhere(limited: App, sendgrid: SendGrid) -> None:
    token, other = (Client(limited.http, sendgrid).sign_in().tokens["access_token"] for _ in range(2))
    responses = [get(limited, ip=new_ip(), Authorization=f"Bearer {token}") for _ in range(4)]

    policies = [response.headers.get_list("ratelimit-policy", split_commas=True) for response in responses]
    assert [response.status_code for response in responses] == [200, 200, 200, 429]
    assert policies[0] == ['"client";q=5;w=60', '"account";q=3;w=60']
    assert policies[3][0] == '"account";q=3;w=60'
    assert get_as(limited, other) == 200


def test_changes_of_an_account_are_limited_per_day(
    start_app: Callable[..., App], migrated_database_url: str, sendgrid: SendGrid
) -> None:
    clock = Clock()
    clock.stop()
    app = start_app(migrated_database_url, clock=clock, account_changes_per_day=2)
    client = Client(app.http, sendgrid).sign_in()

    def change(name: object) -> httpx2.Response:
        return client.as_signed_in("PATCH", "/auth/me", {"display_name": name})

    names: list[object] = [7, "Ana", "A" * 1000, "Bea", "Cy"]
    responses = [change(name) for name in names]
    assert [response.status_code for response in responses] == [422, 200, 422, 200, 429]
    assert responses[3].headers.get_list("ratelimit", split_commas=True)[-1].startswith('"account-changes";r=0;t=')
    policies = responses[4].headers.get_list("ratelimit-policy", split_commas=True)
    assert policies[0] == '"account-changes";q=2;w=86400'
    assert client.as_signed_in("GET", "/auth/me").json()["display_name"] == "Bea"
    other = Client(app.http, sendgrid).sign_in()
    assert other.as_signed_in("PATCH", "/auth/me", {"display_name": "Di"}).status_code == 200
    activity = client.as_signed_in("GET", "/auth/me/activity").json()["data"]
    assert [event["event"] for event in activity].count("user.updated") == 2

    clock.advance(seconds=int(responses[4].headers["retry-after"]))
    assert client.refresh().status_code == 200
    assert change("Cy").status_code == 200


def test_invalid_token_counts_for_no_account(limited: App, sendgrid: SendGrid) -> None:
    token = Client(limited.http, sendgrid).sign_in().tokens["access_token"]

    assert [get_as(limited, f"{token[:-4]}AAAA") for _ in range(4)] == [401] * 4
    assert get_as(limited, token) == 200


def test_revoked_token_counts_for_no_account(limited: App, sendgrid: SendGrid) -> None:
    """Otherwise a signed-out intruder could exhaust the owner's limit."""
    client = Client(limited.http, sendgrid).sign_in()
    revoked = client.tokens["access_token"]
    assert client.ask("POST", "/auth/logout", {"refresh_token": client.tokens["refresh_token"]}).status_code == 204
    client.sign_in()

    assert [get_as(limited, revoked) for _ in range(4)] == [401] * 4
    assert get_as(limited, client.tokens["access_token"]) == 200


def test_sessions_can_be_ended_above_the_account_limit(limited: App, sendgrid: SendGrid) -> None:
    """Otherwise a thief could keep the owner from ending the stolen session."""
    thief, owner = (Client(limited.http, sendgrid, email=email) for email in ["both@example.com"] * 2)
    thief.sign_in()
    owner.mails = thief.mails
    owner.sign_in()
    stolen, owners = (client.tokens["access_token"] for client in (thief, owner))

    assert [get_as(limited, stolen) for _ in range(4)] == [200, 200, 200, 429]
    assert owner.ask("DELETE", f"/auth/sessions/{thief.tokens['session']['id']}", bearer=owners).status_code == 204
    assert get_as(limited, stolen) == 401
    assert owner.ask("DELETE", "/auth/sessions", bearer=owners).status_code == 204


# --- machines and the database ---


def test_machines_share_their_counts(start_app: Callable[..., App], migrated_database_url: str, clock: Clock) -> None:
    first, second = (
        start_app(migrated_database_url, clock=clock, client_requests_per_minute=100_000) for _ in range(2)
    )
    ip = new_ip()
    for _ in range(20):
        get(second, ip=ip)
    made = 0

    def knows_of_the_other() -> bool:
        nonlocal made
        made += 1
        remaining = int(get(first, ip=ip).headers["ratelimit"].split("r=")[1].split(";")[0])
        assert 100_000 - made - 20 <= remaining <= 100_000 - made
        return remaining == 100_000 - made - 20

    wait_until(knows_of_the_other)


def test_machine_without_database_keeps_the_limit(
    start_app: Callable[..., App], migrated_database_url: str, postgres_server: Postgres, clock: Clock
) -> None:
    app = start_app(migrated_database_url, clock=clock, client_requests_per_minute=5)
    name = urlsplit(migrated_database_url).path.strip("/")
    databases.execute(postgres_server.url(), f"DROP DATABASE {name} WITH (FORCE)")
    ip = new_ip()

    statuses = [get(app, "/api/v1/nowhere", ip=ip).status_code for _ in range(7)]

    assert statuses == [404] * 5 + [429] * 2


# --- per feature ---

WRITES = Limit("playlist-writes", 2, per=timedelta(hours=1))
EVERYTHING = Limit("playlist-requests", 3, per=timedelta(hours=1))


async def name_key(x_name: Annotated[str, Header()]) -> str:
    return x_name


@pytest.fixture
def app() -> FastAPI:
    """Two features with separate limits: one on writes per name, one on all requests per client."""
    database = databases.connect_pools("postgres://nobody@localhost/nothing")
    counters = ReplicatedCounters(database, CounterKeys(SecretStr("s" * 32)))
    many = Limit("unused", 100, per=timedelta(minutes=1))
    app = FastAPI()
    limiter = ApproximateRateLimiter(counters, utc_now, per_client=many, per_account=many)
    app.state.services = SimpleNamespace(request_limiter=limiter)
    playlists = APIRouter(prefix="/playlists", dependencies=[Depends(rate_limited(WRITES, key=name_key))])
    charts = APIRouter(prefix="/charts", dependencies=[Depends(rate_limited(EVERYTHING, key=client_key, reads=True))])

    async def answer() -> None: ...

    for method in ("GET", "POST", "PUT", "DELETE"):
        playlists.add_api_route("", answer, methods=[method], operation_id=method.lower())
    charts.add_api_route("", answer, methods=["GET"], operation_id="charts")
    app.include_router(playlists)
    app.include_router(charts)
    problems.install(app)
    openapi.install(app, limited=lambda _: False)
    return app


@pytest.fixture
def http(app: FastAPI) -> Iterator[TestClient]:
    with TestClient(app) as http:
        yield http


def request(http: TestClient, method: str, name: str) -> Any:
    return http.request(method, "/playlists", headers={"X-Name": name})


def test_feature_limits_its_writes_together(http: TestClient) -> None:
    statuses = [request(http, method, "ana").status_code for method in ("POST", "PUT", "DELETE", "POST")]
    refused = request(http, "POST", "ana")

    assert statuses == [200, 200, 429, 429]
    assert refused.json()["code"] == "rate_limit.exceeded"
    assert refused.headers["ratelimit-policy"] == '"playlist-writes";q=2;w=3600'
    assert 0 < int(refused.headers["retry-after"]) <= 3600
    assert request(http, "POST", "bea").status_code == 200


def test_feature_limit_on_writes_ignores_reads(http: TestClient) -> None:
    assert [request(http, "GET", "ana").status_code for _ in range(5)] == [200] * 5
    assert request(http, "POST", "ana").status_code == 200


def test_feature_can_limit_reads_per_client(http: TestClient) -> None:
    assert [http.get("/charts").status_code for _ in range(4)] == [200, 200, 200, 429]


def test_feature_limit_is_in_the_contract(app: FastAPI) -> None:
    document = app.openapi()

    for path, method in (("/playlists", "post"), ("/charts", "get")):
        assert document["paths"][path][method]["responses"]["429"] == {"$ref": "#/components/responses/TooManyRequests"}
    answer = document["components"]["responses"]["TooManyRequests"]
    [_, codes] = answer["content"]["application/problem+json"]["schema"]["allOf"]
    assert codes["properties"]["code"]["enum"] == ["rate_limit.exceeded"]
    assert {"Retry-After", "RateLimit", "RateLimit-Policy"} <= answer["headers"].keys()
