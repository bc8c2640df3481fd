"""Good refresh tokens: used again, raced, kept too long."""

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from functools import partial

import httpx2
import pytest

from tests.support import databases
from tests.support.app import App, Clock
from tests.support.clients import REFRESH_COOKIE, Browser, Client, at_once, new_ip
from tests.support.sendgrid import SendGrid


def column(app: App, client: Client, name: str) -> object:
    """Of the session's row."""
    query = f"SELECT {name} FROM sessions WHERE id = '{client.tokens['session']['id']}'"
    return databases.fetch_value(app.database_url, query)


def recorded(app: App, client: Client) -> object:
    """What the record of the session holds, in its order."""
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
    """The whole family: whoever holds what of it."""
    assert_refused(client.refresh(), "revoked")
    for token in (client.tokens["access_token"], *access_tokens):
        assert client.ask("GET", "/auth/me", bearer=token).status_code == 401
        assert client.ask("GET", "/auth/sessions", bearer=token).status_code == 401
    assert column(app, client, "revoked_reason") == "reused"
    assert recorded(app, client) == ["session.created", "session.revoked reused", "refresh_token.reused"]


def test_one_that_was_just_used_gets_the_same_successor_again(client: Client, app: App) -> None:
    app.clock.stop()
    old = client.sign_in().tokens["refresh_token"]
    new = client.refresh(old).json()["refresh_token"]
    assert new != old
    for seconds in (0, 15, 30):
        app.clock.ahead = timedelta(seconds=seconds)
        again = client.refresh(old)
        assert again.status_code == 200
        assert again.json()["refresh_token"] == new
        assert client.as_signed_in("GET", "/auth/me").status_code == 200

    assert column(app, client, "generation") == 1
    assert client.refresh(new).status_code == 200


def test_one_that_was_used_over_thirty_seconds_ago_ends_the_session(client: Client, app: App) -> None:
    old, first = client.sign_in().tokens["refresh_token"], client.tokens["access_token"]
    client.refresh(old)
    app.clock.advance(seconds=30.1)

    assert_refused(client.ask("POST", "/auth/refresh", {"refresh_token": old}), "reused")
    assert_dead(app, client, first)


def test_the_thirty_seconds_count_from_the_use_of_a_token(client: Client, app: App) -> None:
    """Not from the sign-in: or two tabs that refresh at once would end every session that is older."""
    client.sign_in()
    for _ in range(2):
        app.clock.advance(hours=1)
        old = client.tokens["refresh_token"]
        new = client.refresh().json()["refresh_token"]
        assert client.refresh(old).json()["refresh_token"] == new


def test_one_two_generations_back_ends_the_session_however_soon(client: Client, app: App) -> None:
    old, first = client.sign_in().tokens["refresh_token"], client.tokens["access_token"]
    client.refresh()
    client.refresh()

    assert_refused(client.ask("POST", "/auth/refresh", {"refresh_token": old}), "reused")
    assert_dead(app, client, first)


def test_replaying_doesnt_prolong_the_time_in_which_one_may(client: Client, app: App) -> None:
    old = client.sign_in().tokens["refresh_token"]
    client.refresh(old)
    app.clock.advance(seconds=20)
    assert client.refresh(old).status_code == 200
    app.clock.advance(seconds=20)

    assert_refused(client.ask("POST", "/auth/refresh", {"refresh_token": old}), "reused")


def test_reuse_of_one_session_leaves_the_accounts_others_alone(client: Client) -> None:
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


def test_an_account_that_was_suspended_by_sql_alone_is_out_with_its_next_refresh(client: Client, app: App) -> None:
    """Whoever is called at night may not know the console, which ends the sessions as well."""
    client.sign_in()
    other = replace(client, ip=new_ip(), mails=client.mails).sign_in()
    suspend = "UPDATE users SET disabled_at = now() WHERE id = $1"
    databases.fetch_value(app.database_url, suspend, client.tokens["user"]["id"])

    assert_refused(client.refresh(), "revoked")
    for one in (client, other):
        assert column(app, one, "revoked_reason") == "suspended"
        assert one.as_signed_in("GET", "/auth/sessions").status_code == 401
    assert_refused(other.refresh(), "revoked")
    assert recorded(app, client) == ["session.created", "session.revoked suspended"]


def test_forty_refreshes_at_once_get_one_value(client: Client, app: App) -> None:
    old = client.sign_in().tokens["refresh_token"]
    answers = at_once([partial(client.ask, "POST", "/auth/refresh", {"refresh_token": old})] * 40)

    assert Counter(answer.status_code for answer in answers) == {200: 40}
    [new] = {answer.json()["refresh_token"] for answer in answers}
    assert column(app, client, "generation") == 1
    assert client.refresh(new).status_code == 200


@pytest.mark.slow
def test_nothing_is_left_of_a_session_that_was_refreshed_while_it_was_ended(app: App, sendgrid: SendGrid) -> None:
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


def test_a_session_ends_when_it_isnt_used_for_seven_days(client: Client, app: App) -> None:
    client.sign_in()
    app.clock.advance(days=7, minutes=-1)
    assert client.refresh().status_code == 200
    app.clock.advance(days=7, seconds=1)

    assert_refused(client.refresh(), "expired")
    assert_refused(client.refresh(), "expired")


def test_a_session_has_ended_at_the_very_instant_that_ends_it(
    client: Client, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And isn't taken for stolen: what rotates and what says why not agree on when it is over."""
    client.sign_in()
    end = column(app, client, "idle_expires_at")
    monkeypatch.setattr(Clock, "__call__", lambda _: end)

    assert_refused(client.refresh(), "expired")


def test_an_old_one_is_no_way_back_into_a_session_that_has_expired(client: Client, app: App) -> None:
    old = client.sign_in().tokens["refresh_token"]
    app.clock.advance(days=1)
    client.refresh()
    app.clock.advance(days=7, seconds=1)

    assert_refused(client.refresh(old), "expired")


def test_a_session_ends_after_thirty_days_however_much_it_is_used(client: Client, app: App) -> None:
    client.sign_in()
    for _ in range(4):
        app.clock.advance(days=6)
        assert client.refresh().status_code == 200
    app.clock.advance(days=6, seconds=-10)
    last = client.refresh()
    assert last.status_code == 200
    app.clock.advance(seconds=11)

    assert_refused(client.refresh(), "expired")
    app.clock.advance(seconds=10)  # past what clocks may be apart: no access token outlives the session
    assert client.ask("GET", "/auth/sessions", bearer=last.json()["access_token"]).status_code == 401


def test_the_61st_in_five_minutes_is_too_many_and_does_no_harm(browser: Browser, app: App) -> None:
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
def test_a_cookie_that_is_no_good_any_more_is_cleared(browser: Browser, app: App, why: str) -> None:
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


def test_of_21_sessions_the_oldest_ends(client: Client, app: App) -> None:
    """21 sign-ins would be more than an address may have in a day."""
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


@pytest.mark.parametrize("whose", ["ended ones", "another account's"])
def test_only_live_sessions_of_the_account_count_among_its_twenty(
    client: Client, app: App, sendgrid: SendGrid, whose: str
) -> None:
    """Or signing in and out again would end one's other sessions, and whoever has many those of others."""
    client.sign_in()
    other = Client(app.http, sendgrid).sign_in()
    copied = (client if whose == "ended ones" else other).tokens["session"]["id"]
    revoked = "now(), 'signed_out'" if whose == "ended ones" else "NULL, NULL"
    newer = f"""
        INSERT INTO sessions (id, user_id, refresh_nonce, rotated_at, auth_time, amr, created_at, last_used_at,
            idle_expires_at, absolute_expires_at, revoked_at, revoked_reason)
        SELECT overlay(gen_random_uuid()::text PLACING 'ff' FROM 1)::uuid, user_id, '', rotated_at, auth_time, amr,
            created_at, last_used_at, idle_expires_at, absolute_expires_at, {revoked}
        FROM sessions, generate_series(1, 20) WHERE id = '{copied}'
    """
    databases.execute(app.database_url, newer)
    second = replace(client, ip=new_ip(), mails=client.mails).sign_in()

    assert [each.refresh().status_code for each in (client, second)] == [200, 200]


def test_a_mailbox_that_was_lost_gives_no_way_to_prolong_a_session_that_was_ended(client: Client) -> None:
    client.sign_in()
    token = client.tokens["refresh_token"]
    assert client.ask("POST", "/auth/logout", {"refresh_token": token}).status_code == 204
    client.sign_in()

    assert_refused(client.ask("POST", "/auth/refresh", {"refresh_token": token}), "revoked")
    assert client.refresh().status_code == 200
