"""How much clients and accounts may ask for: over HTTP, on one machine and on two, with and without the database."""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncEngine

from audifi.core.config.settings import DatabaseSettings
from audifi.core.db.connection import create_engine
from audifi.core.rate_limiting import approximate as traffic
from audifi.core.rate_limiting.approximate import SharedCounters
from dev.postgres import Postgres
from tests.support import databases
from tests.support.app import App, Clock
from tests.support.clients import Client, new_ip
from tests.support.sendgrid import SendGrid
from tests.support.waiting import wait_until

HEALTH = "/api/v1/health"
ME = "/api/v1/auth/me"


def ask(app: App, path: str = ME, *, ip: str, **headers: str) -> httpx2.Response:
    return app.http.get(path, headers={"Fly-Client-IP": ip, "Fly-Forwarded-Proto": "https", **headers})


def at_the_start_of_a_minute(clock: Clock) -> None:
    """So that none ends while a test counts."""
    clock.advance(seconds=60 - time.time() % 60 + 0.5)


@pytest.fixture
def limited(start_app: Callable[..., App], migrated_database_url: str) -> App:
    clock = Clock()
    at_the_start_of_a_minute(clock)
    return start_app(migrated_database_url, clock=clock, client_requests_per_minute=5, account_requests_per_minute=3)


def test_every_answer_tells_what_is_left(limited: App) -> None:
    ip = new_ip()
    left = [ask(limited, path, ip=ip).headers["ratelimit"] for path in (ME, "/api/v1/nowhere", "/", "/openapi.json")]

    assert [each.split(";")[:2] for each in left] == [['"client"', f"r={n}"] for n in (4, 3, 2, 1)]
    assert all(0 < int(each.split("t=")[1]) <= 60 for each in left)


def test_a_client_that_asks_too_much_is_refused_until_the_minute_is_over(limited: App) -> None:
    ip = new_ip()
    for _ in range(5):
        assert ask(limited, ip=ip).status_code == 401

    refused = ask(limited, ip=ip, Origin="https://app.audifi.test")

    assert refused.status_code == 429
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json()["code"] == "rate_limit.exceeded"
    assert refused.headers["ratelimit-policy"] == '"client";q=5;w=60'
    wait = int(refused.headers["retry-after"])
    assert refused.headers["ratelimit"] == f'"client";r=0;t={wait}'
    assert refused.headers["access-control-allow-origin"] == "https://app.audifi.test"
    assert ask(limited, ip=new_ip()).status_code == 401
    limited.clock.advance(seconds=wait)
    assert ask(limited, ip=ip).status_code == 401


def test_whoever_has_an_ipv6_network_is_one_client(limited: App) -> None:
    statuses = [ask(limited, ip=f"2001:db8:7:7::{number}").status_code for number in range(7)]

    assert statuses == [401] * 5 + [429] * 2


def test_health_is_never_refused(limited: App) -> None:
    ip = new_ip()
    answers = [ask(limited, HEALTH, ip=ip) for _ in range(20)]

    # Whatever it says of the database: no refusal, which would be a problem.
    assert {answer.headers["content-type"] for answer in answers} == {"application/json"}
    assert 429 not in {answer.status_code for answer in answers}
    assert "ratelimit" not in answers[0].headers
    assert ask(limited, ip=ip).headers["ratelimit"].startswith('"client";r=4;')


def test_preflights_count_for_nothing(limited: App) -> None:
    ip = new_ip()
    asked = {"Origin": "https://app.audifi.test", "Access-Control-Request-Method": "GET", "Fly-Client-IP": ip}
    for _ in range(10):
        assert limited.http.options(ME, headers=asked).status_code == 200

    assert ask(limited, ip=ip).status_code == 401


def test_an_account_that_asks_too_much_is_refused_wherever_it_asks_from(limited: App, sendgrid: SendGrid) -> None:
    token = Client(limited.http, sendgrid).sign_in().tokens["access_token"]
    other = Client(limited.http, sendgrid).sign_in().tokens["access_token"]
    answers = [ask(limited, ip=new_ip(), Authorization=f"Bearer {token}") for _ in range(4)]

    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert answers[0].headers.get_list("ratelimit-policy", split_commas=True) == [
        '"client";q=5;w=60',
        '"account";q=3;w=60',
    ]
    assert answers[3].headers.get_list("ratelimit-policy", split_commas=True)[0] == '"account";q=3;w=60'
    assert ask(limited, ip=new_ip(), Authorization=f"Bearer {other}").status_code == 200


def test_an_account_changes_and_is_recorded_so_often_a_day(
    start_app: Callable[..., App], migrated_database_url: str, sendgrid: SendGrid
) -> None:
    clock = Clock()
    clock.stop()
    app = start_app(migrated_database_url, clock=clock, account_changes_per_day=2)
    client = Client(app.http, sendgrid).sign_in()

    def change(name: object) -> httpx2.Response:
        return client.as_signed_in("PATCH", "/me", {"display_name": name})

    names: list[object] = [7, "Ana", "A" * 1000, "Bea", "Cy"]
    answers = [change(name) for name in names]
    assert [answer.status_code for answer in answers] == [422, 200, 422, 200, 429]
    assert answers[3].headers.get_list("ratelimit", split_commas=True)[-1].startswith('"account-changes";r=0;t=')
    assert answers[4].headers.get_list("ratelimit-policy", split_commas=True)[0] == '"account-changes";q=2;w=86400'
    assert client.as_signed_in("GET", "/me").json()["display_name"] == "Bea"
    assert Client(app.http, sendgrid).sign_in().as_signed_in("PATCH", "/me", {"display_name": "Di"}).status_code == 200
    activity = client.as_signed_in("GET", "/me/activity").json()["data"]
    assert [event["event"] for event in activity].count("user.updated") == 2

    clock.advance(seconds=int(answers[4].headers["retry-after"]))
    assert client.refresh().status_code == 200
    assert change("Cy").status_code == 200


def test_a_token_that_isnt_good_counts_for_no_account(limited: App, sendgrid: SendGrid) -> None:
    client = Client(limited.http, sendgrid).sign_in()
    token = client.tokens["access_token"]
    for _ in range(4):
        assert ask(limited, ip=new_ip(), Authorization=f"Bearer {token[:-4]}AAAA").status_code == 401

    assert ask(limited, ip=new_ip(), Authorization=f"Bearer {token}").status_code == 200


def test_a_token_of_a_session_that_was_ended_counts_for_no_account(limited: App, sendgrid: SendGrid) -> None:
    """Who was signed out, because they shouldn't have been in, could else keep the owner out."""
    client = Client(limited.http, sendgrid).sign_in()
    ended = client.tokens["access_token"]
    assert client.ask("POST", "/logout", {"refresh_token": client.tokens["refresh_token"]}).status_code == 204
    client.sign_in()
    for _ in range(4):
        assert ask(limited, ip=new_ip(), Authorization=f"Bearer {ended}").status_code == 401

    token = client.tokens["access_token"]
    assert ask(limited, ip=new_ip(), Authorization=f"Bearer {token}").status_code == 200


def test_whoever_asks_as_much_as_an_account_may_keeps_nobody_from_ending_its_sessions(
    limited: App, sendgrid: SendGrid
) -> None:
    thief, owner = (Client(limited.http, sendgrid, email=email) for email in ["both@example.com"] * 2)
    thief.sign_in()
    owner.mails = thief.mails
    owner.sign_in()
    stolen, own = (one.tokens["access_token"] for one in (thief, owner))
    asked = [ask(limited, ip=new_ip(), Authorization=f"Bearer {stolen}").status_code for _ in range(4)]

    assert asked == [200, 200, 200, 429]
    assert owner.ask("DELETE", f"/sessions/{thief.tokens['session']['id']}", bearer=own).status_code == 204
    assert ask(limited, ip=new_ip(), Authorization=f"Bearer {stolen}").status_code == 401
    assert owner.ask("DELETE", "/sessions", bearer=own).status_code == 204


def test_machines_count_together(start_app: Callable[..., App], migrated_database_url: str) -> None:
    clock = Clock()
    at_the_start_of_a_minute(clock)
    settings: dict[str, Any] = {"clock": clock, "client_requests_per_minute": 20}
    one, other = (start_app(migrated_database_url, **settings) for _ in range(2))
    ip = new_ip()
    for app in (one, other):
        for _ in range(10):
            assert ask(app, ip=ip).status_code == 401

    def wait_until_shared(number: int) -> None:
        told = "SELECT sum(count) FROM rate_limit_counters WHERE key LIKE '%/' || $1 || '/%'"
        wait_until(lambda: databases.fetch_value(migrated_database_url, told, ip) == number)
        time.sleep(1)  # until whoever told it has heard what there is in all

    wait_until_shared(20)
    # Each learns what the other has counted when it has something to tell.
    first = [ask(app, ip=ip).status_code for app in (one, other)]
    wait_until_shared(22)
    assert [ask(app, ip=ip).status_code for app in (one, other)] == [429, 429], first


def test_without_the_database_each_machine_has_the_limit_for_itself(
    start_app: Callable[..., App], migrated_database_url: str, postgres_server: Postgres
) -> None:
    clock = Clock()
    at_the_start_of_a_minute(clock)
    app = start_app(migrated_database_url, clock=clock, client_requests_per_minute=5)
    name = urlsplit(migrated_database_url).path.strip("/")
    databases.execute(postgres_server.url(), f"DROP DATABASE {name} WITH (FORCE)")
    ip = new_ip()

    statuses = [ask(app, "/api/v1/nowhere", ip=ip).status_code for _ in range(7)]

    assert statuses == [404] * 5 + [429] * 2


@pytest.fixture
def engine(migrated_database_url: str) -> AsyncEngine:
    return create_engine(DatabaseSettings.model_validate({"database_url": migrated_database_url}))


def counters(engine: AsyncEngine) -> SharedCounters:
    return SharedCounters(engine, lambda: datetime(2026, 1, 1, 12, 0, 30, tzinfo=UTC))


def test_what_is_shared_is_shared_once(engine: AsyncEngine) -> None:
    one, other = counters(engine), counters(engine)

    async def share() -> list[int]:
        for _ in range(3):
            await one.incr("k", 60)
        await other.incr("k", 60)
        await one.share()
        await one.share()
        await other.share()
        await other.incr("k", 60)
        await other.share()
        await one.incr("k", 60)
        await one.share()
        seen = [await one.get("k"), await other.get("k")]
        await engine.dispose()
        return seen

    assert asyncio.run(share()) == [6, 5]


def test_what_is_counted_while_counts_are_shared_isnt_lost(engine: AsyncEngine) -> None:
    one = counters(engine)

    async def share() -> int:
        await one.incr("k", 60)
        counted = 1
        sharing = asyncio.create_task(one.share())
        while not sharing.done():
            await one.incr("k", 60)
            counted += 1
            await asyncio.sleep(0)
        assert await one.get("k") == counted
        await one.share()
        other = counters(engine)
        await other.incr("k", 60)
        await other.share()
        assert await other.get("k") == counted + 1
        await engine.dispose()
        return counted

    assert asyncio.run(share()) > 1


def test_a_share_that_fails_is_made_up_for(engine: AsyncEngine, migrated_database_url: str) -> None:
    one = counters(engine)

    async def share() -> int:
        await one.incr("k", 60)
        await asyncio.to_thread(
            databases.execute, migrated_database_url, "ALTER TABLE rate_limit_counters RENAME TO away"
        )
        with pytest.raises(Exception, match="rate_limit_counters"):
            await one.share()
        await asyncio.to_thread(
            databases.execute, migrated_database_url, "ALTER TABLE away RENAME TO rate_limit_counters"
        )
        await one.incr("k", 60)
        await one.share()
        other = counters(engine)
        await other.incr("k", 60)
        await other.share()
        await engine.dispose()
        return await other.get("k")

    assert asyncio.run(share()) == 3


def test_what_is_counted_is_bounded(engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traffic, "MAX_COUNTERS", 10)
    one = counters(engine)

    async def count() -> list[int]:
        for number in range(20):
            await one.incr(f"k{number}", 60)
        return [await one.incr("k0", 60), await one.incr("k15", 60)]

    assert asyncio.run(count()) == [2, 1]


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 90)), max_size=40))
def test_a_window_counts_what_came_in_it(hits: list[tuple[int, int]]) -> None:
    """Of a key; time goes on between hits, and windows begin with the minute."""
    instant = 0
    one = SharedCounters(create_nothing(), lambda: datetime.fromtimestamp(instant, UTC))
    expected: dict[tuple[int, int], int] = {}

    async def count() -> None:
        nonlocal instant
        for key, seconds in hits:
            instant += seconds
            window = (key, instant // 60)
            expected[window] = expected.get(window, 0) + 1
            assert await one.incr(str(key), 60) == expected[window]
            assert await one.get_expiry(str(key)) == (instant // 60 + 1) * 60

    asyncio.run(count())


def create_nothing() -> AsyncEngine:
    """An engine that nobody asks."""
    return create_engine(DatabaseSettings.model_validate({"database_url": "postgres://nobody@localhost/nothing"}))
