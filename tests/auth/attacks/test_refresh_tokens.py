"""Genuine refresh tokens: reused, used concurrently, expired."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from functools import partial

import httpx2
import pytest

from tests.support import databases
from tests.support.app import App, Clock
from tests.support.clients import REFRESH_COOKIE, Browser, Client, at_once, elsewhere, new_ip
from tests.support.sendgrid import SendGrid
from tests.support.waiting import wait_until


def column(app: App, client: Client, name: str) -> object:
    """Return a column of the session's row."""
    query = f"SELECT {name} FROM sessions WHERE id = '{client.tokens['session']['id']}'"
    return databases.fetch_value(app.database_url, query)


def recorded(app: App, client: Client) -> object:
    """Return the session's audit events in order."""
    query = f"""
        SELECT array_agg(event || coalesce(' ' || detail, '') ORDER BY id)
        FROM auth_events WHERE session_id = '{client.tokens["session"]["id"]}'
    """
    return databases.fetch_value(app.database_url, query)


def assert_refused(answer: httpx2.Response, why: str) -> None:
    assert (answer.status_code, answer.json()["code"]) == (401, f"refresh_token.{why}")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["www-authenticate"] == "Bearer"


def assert_dead(app: App, client: Client, *access_tokens: str) -> None:
    """Check that all tokens of the session are refused."""
    assert_refused(client.refresh(), "revoked")
    for token in (client.tokens["access_token"], *access_tokens):
        assert client.ask("GET", "/auth/me", bearer=token).status_code == 401
        assert client.ask("GET", "/auth/sessions", bearer=token).status_code == 401
    assert column(app, client, "revoked_reason") == "reused"
    assert recorded(app, client) == ["session.created", "session.revoked reused", "refresh_token.reused"]


def lock_of(client: Client) -> str:
    """Return the statement that locks the session's row."""
    return f"SELECT FROM sessions WHERE id = '{client.tokens['session']['id']}' FOR UPDATE"


def test_replay_gets_the_same_token_until_it_is_used(client: Client, app: App) -> None:
    """The response may have been lost, and the client may have slept since."""
    app.clock.stop()
    old = client.sign_in().tokens["refresh_token"]
    new = client.refresh(old).json()["refresh_token"]
    assert new != old
    for later in (timedelta(), timedelta(seconds=31), timedelta(days=6)):
        app.clock.ahead = later
        again = client.refresh(old)
        assert again.status_code == 200
        assert again.json()["refresh_token"] == new
        assert client.as_signed_in("GET", "/auth/me").status_code == 200

    assert column(app, client, "generation") == 1
    assert client.refresh(new).status_code == 200


def test_replay_does_not_extend_the_session(client: Client, app: App) -> None:
    old = client.sign_in().tokens["refresh_token"]
    client.refresh(old)
    app.clock.advance(days=6)
    assert client.refresh(old).status_code == 200
    app.clock.advance(days=1, seconds=1)

    assert_refused(client.refresh(old), "expired")


def test_holders_of_one_token_that_take_turns_stay_signed_in(client: Client, app: App) -> None:
    """As two tabs do that don't read their store again: each is at most one refresh behind."""
    other = elsewhere(client.sign_in())
    for _ in range(3):
        for tab in (client, other):
            app.clock.advance(hours=1)
            assert tab.refresh().status_code == 200

    assert column(app, client, "generation") == 3


def test_holder_that_is_two_refreshes_behind_is_seen(client: Client, app: App) -> None:
    """A thief and an owner can't both refresh as they like: one of them runs ahead."""
    thief = elsewhere(client.sign_in())
    app.clock.advance(hours=1)
    assert thief.refresh().status_code == 200
    app.clock.advance(hours=1)
    assert thief.refresh().status_code == 200

    assert_refused(client.refresh(), "reused")
    assert_dead(app, thief, client.tokens["access_token"])


def test_replay_while_the_new_token_is_being_used(client: Client, app: App) -> None:
    """Its answer is then the newest token's parent, and still works."""
    old = client.sign_in().tokens["refresh_token"]
    new = client.refresh(old).json()["refresh_token"]
    app.clock.advance(hours=1)
    with ThreadPoolExecutor(1) as threads:
        with databases.holding(app.database_url, lock_of(client)) as waiting:
            used = threads.submit(client.ask, "POST", "/auth/refresh", {"refresh_token": new})
            wait_until(lambda: waiting() == 1)
            replayed = client.ask("POST", "/auth/refresh", {"refresh_token": old})
        newest = used.result().json()["refresh_token"]

    assert replayed.json()["refresh_token"] == new
    assert client.refresh(new).json()["refresh_token"] == newest
    assert_refused(client.refresh(old), "reused")


@pytest.mark.parametrize("first", ["use", "reuse"])
def test_reuse_while_the_newest_token_is_being_used(client: Client, app: App, first: str) -> None:
    """Whichever transaction gets the session's row first, the session ends, with what the other has got."""
    old = client.sign_in().tokens["refresh_token"]
    client.refresh()
    newest = client.refresh().json()["refresh_token"]
    requests = {"use": newest, "reuse": old}
    with ThreadPoolExecutor(2) as threads:
        with databases.holding(app.database_url, lock_of(client)) as waiting:
            begun = {}
            for number, name in enumerate(sorted(requests, key=lambda name: name != first), start=1):
                begun[name] = threads.submit(client.ask, "POST", "/auth/refresh", {"refresh_token": requests[name]})
                wait_until(partial(lambda count: waiting() == count, number))
        used, reused = begun["use"].result(), begun["reuse"].result()

    assert_refused(reused, "reused")
    if first == "use":
        assert_refused(client.refresh(used.json()["refresh_token"]), "revoked")
    else:
        assert_refused(used, "revoked")
    assert_dead(app, client)


def test_reuse_two_generations_back_ends_the_session(client: Client, app: App) -> None:
    old, first = client.sign_in().tokens["refresh_token"], client.tokens["access_token"]
    client.refresh()
    client.refresh()

    assert_refused(client.ask("POST", "/auth/refresh", {"refresh_token": old}), "reused")
    assert_dead(app, client, first)


def test_reuse_keeps_the_accounts_other_sessions(client: Client) -> None:
    client.sign_in()
    other = replace(client, ip=new_ip(), mails=client.mails).sign_in()
    old = client.tokens["refresh_token"]
    client.refresh()
    client.refresh()
    assert_refused(client.refresh(old), "reused")

    assert other.refresh().status_code == 200
    assert [event["event"] for event in other.as_signed_in("GET", "/auth/me/activity").json()["data"]][:2] == [
        "refresh_token.reused",
        "session.revoked",
    ]


def test_refresh_ends_sessions_of_account_suspended_by_sql(client: Client, app: App) -> None:
    """An operator may suspend an account by plain SQL, which doesn't end its sessions."""
    client.sign_in()
    other = replace(client, ip=new_ip(), mails=client.mails).sign_in()
    suspend = "UPDATE users SET disabled_at = now() WHERE id = $1"
    databases.fetch_value(app.database_url, suspend, client.tokens["user"]["id"])

    assert_refused(client.refresh(), "revoked")
    for device in (client, other):
        assert column(app, device, "revoked_reason") == "suspended"
        assert device.as_signed_in("GET", "/auth/sessions").status_code == 401
    assert_refused(other.refresh(), "revoked")
    assert recorded(app, client) == ["session.created", "session.revoked suspended"]


def test_concurrent_refreshes_get_the_same_token(client: Client, app: App) -> None:
    old = client.sign_in().tokens["refresh_token"]
    answers = at_once([partial(client.ask, "POST", "/auth/refresh", {"refresh_token": old})] * 40)

    assert Counter(answer.status_code for answer in answers) == {200: 40}
    [new] = {answer.json()["refresh_token"] for answer in answers}
    assert column(app, client, "generation") == 1
    assert client.refresh(new).status_code == 200


@pytest.mark.slow
def test_session_ended_during_refresh_stays_ended(app: App, sendgrid: SendGrid) -> None:
    rounds = 20
    clients = [Client(app.http, sendgrid) for _ in range(rounds)]
    at_once([client.sign_in for client in clients])
    outcomes: Counter[int] = Counter()
    for number, client in enumerate(clients):
        token = client.tokens["refresh_token"]
        refresh = partial(client.ask, "POST", "/auth/refresh", {"refresh_token": token})
        if number % 2:
            log_out = partial(client.ask, "POST", "/auth/logout", bearer=client.tokens["access_token"])
        else:
            log_out = partial(client.ask, "POST", "/auth/logout", {"refresh_token": token})
        first, ended, second = at_once([refresh, log_out, refresh])
        assert ended.status_code == 204
        got = [answer.json() for answer in (first, second) if answer.status_code == 200]
        outcomes[len(got)] += 1
        for tokens in (client.tokens, *got):
            assert_refused(client.ask("POST", "/auth/refresh", {"refresh_token": tokens["refresh_token"]}), "revoked")
            assert client.ask("GET", "/auth/me", bearer=tokens["access_token"]).status_code == 401
            assert client.ask("GET", "/auth/sessions", bearer=tokens["access_token"]).status_code == 401

    assert outcomes.total() == rounds


def test_session_expires_after_seven_idle_days(client: Client, app: App) -> None:
    client.sign_in()
    app.clock.advance(days=7, minutes=-1)
    assert client.refresh().status_code == 200
    app.clock.advance(days=7, seconds=1)

    assert_refused(client.refresh(), "expired")
    assert_refused(client.refresh(), "expired")


def test_session_is_expired_exactly_at_idle_expires_at(
    client: Client, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It isn't reported as reused: both statements agree on the time of expiry."""
    client.sign_in()
    end = column(app, client, "idle_expires_at")
    monkeypatch.setattr(Clock, "__call__", lambda _: end)

    assert_refused(client.refresh(), "expired")


def test_old_token_of_an_expired_session_is_refused(client: Client, app: App) -> None:
    old = client.sign_in().tokens["refresh_token"]
    app.clock.advance(days=1)
    client.refresh()
    app.clock.advance(days=7, seconds=1)

    assert_refused(client.refresh(old), "expired")


def test_session_expires_after_thirty_days(client: Client, app: App) -> None:
    client.sign_in()
    for _ in range(4):
        app.clock.advance(days=6)
        assert client.refresh().status_code == 200
    app.clock.advance(days=6, seconds=-10)
    last = client.refresh()
    assert last.status_code == 200
    app.clock.advance(seconds=11)

    assert_refused(client.refresh(), "expired")
    app.clock.advance(seconds=10)  # the clock leeway: no access token outlives its session
    assert client.ask("GET", "/auth/sessions", bearer=last.json()["access_token"]).status_code == 401


def test_sixty_first_refresh_is_limited_and_harmless(browser: Browser, app: App) -> None:
    browser.sign_in()
    for _ in range(60):
        assert browser.refresh().status_code == 200
    cookie = browser.cookies[REFRESH_COOKIE]
    answer = browser.refresh()

    assert (answer.status_code, answer.json()["code"]) == (429, "rate_limit.exceeded")
    assert 1 <= int(answer.headers["retry-after"]) <= 300
    assert answer.headers.get_list("ratelimit-policy")[0] == '"refresh-session";q=60;w=300'
    assert answer.headers["ratelimit"].startswith('"refresh-session";r=0;t=')
    assert "set-cookie" not in answer.headers
    assert browser.cookies[REFRESH_COOKIE] == cookie
    assert browser.as_signed_in("GET", "/auth/me").status_code == 200
    app.clock.advance(seconds=int(answer.headers["retry-after"]))
    assert browser.refresh().status_code == 200


@pytest.mark.parametrize("why", ["invalid", "expired", "revoked", "reused"])
def test_invalid_refresh_cookie_is_cleared(browser: Browser, app: App, why: str) -> None:
    browser.sign_in()
    token = browser.cookies[REFRESH_COOKIE]
    if why == "invalid":
        token = token[:-4] + "AAAA"
    elif why == "expired":
        app.clock.advance(days=8)
    elif why == "revoked":
        assert browser.as_signed_in("DELETE", f"/auth/sessions/{browser.tokens['session']['id']}").status_code == 204
    else:
        browser.refresh()
        browser.refresh()
    answer = browser.refresh(token)

    assert_refused(answer, why)
    [cleared] = answer.headers.get_list("set-cookie")
    assert cleared.startswith(f'{REFRESH_COOKIE}=""; ')
    attributes = {part.strip().lower() for part in cleared.split(";")[1:]}
    assert attributes == {"httponly", "secure", "samesite=strict", "path=/", "max-age=0"}
    assert browser.cookies == {}


def test_twenty_first_session_ends_the_oldest(client: Client, app: App) -> None:
    """The clock moves because an address may request only 20 links a day."""
    devices = [replace(client, ip=new_ip()) for _ in range(21)]
    for number, device in enumerate(devices):
        device.mails = number
        if number == 20:
            app.clock.advance(days=1, seconds=1)
            for other in devices[:20]:
                assert other.refresh().status_code == 200
        device.sign_in()
    oldest, *others = devices

    assert_refused(oldest.refresh(), "revoked")
    assert oldest.as_signed_in("GET", "/auth/sessions").status_code == 401
    assert column(app, oldest, "revoked_reason") == "too_many"
    assert recorded(app, oldest) == ["session.created", "session.revoked too_many"]
    assert [device.refresh().status_code for device in others] == [200] * 20


def add_newer_sessions(app: App, client: Client, count: int, revoked: str = "NULL, NULL") -> None:
    """Add copies of the client's session to its account."""
    databases.execute(
        app.database_url,
        f"""
        INSERT INTO sessions (id, user_id, refresh_nonce, rotated_at, auth_time, amr, created_at, last_used_at,
            idle_expires_at, absolute_expires_at, revoked_at, revoked_reason)
        SELECT overlay(gen_random_uuid()::text PLACING 'ff' FROM 1)::uuid, user_id, '', rotated_at, auth_time, amr,
            created_at, last_used_at, idle_expires_at, absolute_expires_at, {revoked}
        FROM sessions, generate_series(1, {count}) WHERE id = '{client.tokens["session"]["id"]}'
        """,
    )


@pytest.mark.parametrize("whose", ["ended ones", "another account's"])
def test_only_the_accounts_active_sessions_are_counted(
    client: Client, app: App, sendgrid: SendGrid, whose: str
) -> None:
    """Otherwise repeated sign-ins, or another account's sessions, would end the account's other sessions."""
    client.sign_in()
    other = Client(app.http, sendgrid).sign_in()
    revoked = "now(), 'signed_out'" if whose == "ended ones" else "NULL, NULL"
    add_newer_sessions(app, client if whose == "ended ones" else other, 20, revoked)
    second = replace(client, ip=new_ip(), mails=client.mails).sign_in()

    assert [each.refresh().status_code for each in (client, second)] == [200, 200]


def test_session_ended_during_the_21st_sign_in_ends_once(client: Client, app: App) -> None:
    client.sign_in()
    add_newer_sessions(app, client, 19)
    device = replace(client, ip=new_ip())
    mail = device.request_mail()

    ends = partial(client.as_signed_in, "POST", "/auth/logout")
    signs_in = partial(device.verify, token=mail.token, **device.secret())
    answers = databases.in_order(app.database_url, lock_of(client), ends, signs_in)

    assert [answer.status_code for answer in answers] == [204, 200]
    assert recorded(app, client) == ["session.created", "session.revoked signed_out"]


def test_new_sign_in_does_not_revive_an_ended_session(client: Client) -> None:
    client.sign_in()
    token = client.tokens["refresh_token"]
    assert client.ask("POST", "/auth/logout", {"refresh_token": token}).status_code == 204
    client.sign_in()

    assert_refused(client.ask("POST", "/auth/refresh", {"refresh_token": token}), "revoked")
    assert client.refresh().status_code == 200
