"""Genuine access tokens: expired, revoked, in the wrong place, for another account."""

import json
from datetime import timedelta
from uuid import uuid4

import httpx2
import jwt
import pytest

from tests.support import databases
from tests.support.app import App
from tests.support.clients import Browser, Client
from tests.support.sendgrid import SendGrid

INVALID = 'Bearer error="invalid_token"'


def assert_refused(answer: httpx2.Response, code: str = "access_token.invalid", challenge: str = INVALID) -> None:
    assert answer.status_code == 401, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == code
    assert answer.headers.get_list("www-authenticate") == [challenge]


def assert_no_use(client: Client, token: str) -> None:
    """Check a route that reads the session's row and one that doesn't."""
    for path in ("/auth/me", "/auth/sessions"):
        assert_refused(client.ask("GET", path, bearer=token))


def test_access_token_expires_after_ten_minutes(client: Client, app: App) -> None:
    client.sign_in()
    app.clock.advance(minutes=9, seconds=55)
    assert client.as_signed_in("GET", "/auth/me").status_code == 200
    app.clock.advance(seconds=11)

    for path in ("/auth/me", "/auth/sessions"):
        assert_refused(client.as_signed_in("GET", path), "access_token.expired")


def test_access_token_issued_in_the_future_is_refused(client: Client, app: App) -> None:
    app.clock.ahead = timedelta(seconds=60)
    client.sign_in()
    app.clock.ahead = timedelta()

    assert_no_use(client, client.tokens["access_token"])


def test_token_kinds_are_not_interchangeable(client: Client) -> None:
    mail = client.request_mail()
    secret = client.flow["flow_secret"]
    assert client.verify(token=mail.token, flow_secret=secret).status_code == 200
    for other in (client.tokens["refresh_token"], mail.token, secret, mail.code):
        assert_no_use(client, other)

    access_token = client.tokens["access_token"]
    for answer in (
        client.ask("POST", "/auth/refresh", {"refresh_token": "art1_" + access_token[:70]}),
        client.ask("POST", "/auth/refresh", {"refresh_token": access_token}),
    ):
        assert (answer.status_code, answer.json()["code"]) == (401, "refresh_token.invalid")
    assert client.as_signed_in("GET", "/auth/me").status_code == 200


def test_access_token_outside_its_header_is_ignored(client: Client) -> None:
    """URLs are in logs, histories and Referer (RFC 6750, 5.3)."""
    token = client.sign_in().tokens["access_token"]
    for answer in (
        client.ask("GET", f"/auth/me?access_token={token}"),
        client.ask("GET", f"/auth/me?token={token}"),
        client.ask("GET", "/auth/me", headers={"Cookie": f"access_token={token}; Authorization=Bearer {token}"}),
        client.ask("GET", "/auth/me", headers={"X-Access-Token": token, "Proxy-Authorization": f"Bearer {token}"}),
        client.ask("PATCH", "/auth/me", {"display_name": "Eve", "access_token": token}),
    ):
        assert_refused(answer, "access_token.missing", "Bearer")
        assert token not in answer.text
    assert client.as_signed_in("GET", "/auth/me").json()["display_name"] is None


@pytest.mark.parametrize("credentials", [None, "", "Basic dXNlcjpwYXNz", "Bearer", "Token x", "Digest a=b", "{token}"])
def test_request_without_bearer_token_gets_a_challenge(client: Client, credentials: str | None) -> None:
    """RFC 6750, 3.1: the challenge has no error code if the request has no token."""
    client.sign_in()
    headers = {}
    if credentials is not None:
        headers["Authorization"] = credentials.format(token=client.tokens["access_token"])
    for method, path in (
        ("GET", "/auth/me"),
        ("PATCH", "/auth/me"),
        ("DELETE", "/auth/me"),
        ("GET", "/auth/me/activity"),
        ("GET", "/auth/sessions"),
        ("DELETE", "/auth/sessions"),
        ("DELETE", f"/auth/sessions/{client.tokens['session']['id']}"),
    ):
        body = {"display_name": "Eve"} if method == "PATCH" else None
        assert_refused(client.ask(method, path, body, headers=headers), "access_token.missing", "Bearer")
    assert client.as_signed_in("GET", "/auth/me").json()["display_name"] is None


def test_access_token_contains_no_personal_data(client: Client) -> None:
    tokens = [client.sign_in().tokens["access_token"]]
    assert client.as_signed_in("PATCH", "/auth/me", {"display_name": "Ana Maria"}).status_code == 200
    tokens.append(client.refresh().json()["access_token"])

    for token in tokens:
        claims = jwt.decode(token, options={"verify_signature": False})
        text = json.dumps([claims, jwt.get_unverified_header(token)])
        for private in (client.email, client.email.partition("@")[0], "example.com", "fan", "role", "Ana Maria"):
            assert private not in text


@pytest.mark.parametrize("how", ["bearer", "refresh", "old refresh", "list", "all others"])
def test_ended_session_revokes_its_access_token_at_once(client: Client, how: str) -> None:
    client.sign_in()
    old, former = client.tokens["access_token"], client.tokens["refresh_token"]
    assert client.refresh().status_code == 200
    gone = client.tokens
    ended = {
        "bearer": lambda: client.ask("POST", "/auth/logout", bearer=old),
        "refresh": lambda: client.ask("POST", "/auth/logout", {"refresh_token": gone["refresh_token"]}),
        "old refresh": lambda: client.ask("POST", "/auth/logout", {"refresh_token": former}),
        "list": lambda: client.sign_in().as_signed_in("DELETE", f"/auth/sessions/{gone['session']['id']}"),
        "all others": lambda: client.sign_in().as_signed_in("DELETE", "/auth/sessions"),
    }[how]()

    assert ended.status_code == 204
    for token in (old, gone["access_token"]):
        assert_no_use(client, token)
        assert_refused(client.ask("GET", "/auth/me/activity", bearer=token))
        assert_refused(client.ask("DELETE", "/auth/sessions", bearer=token))
        assert_refused(client.ask("PATCH", "/auth/me", {"display_name": "Eve"}, bearer=token))


def test_deleted_account_revokes_its_access_tokens(client: Client) -> None:
    elsewhere = client.sign_in().tokens["access_token"]
    assert client.sign_in().as_signed_in("DELETE", "/auth/me").status_code == 204

    for token in (elsewhere, client.tokens["access_token"]):
        assert_no_use(client, token)


def test_account_suspended_by_sql_is_refused(client: Client, app: App) -> None:
    """An operator may suspend an account by plain SQL, which doesn't end its sessions."""
    client.sign_in()
    databases.execute(
        app.database_url,
        f"UPDATE users SET disabled_at = now() WHERE id = '{client.tokens['user']['id']}'",
    )

    assert_refused(client.as_signed_in("GET", "/auth/me"))
    assert_refused(client.as_signed_in("PATCH", "/auth/me", {"display_name": "Eve"}))


def test_session_of_another_account_is_not_found(client: Client, app: App, sendgrid: SendGrid) -> None:
    victim = Client(app.http, sendgrid).sign_in()
    path = f"/auth/sessions/{victim.tokens['session']['id']}"
    answer = client.sign_in().as_signed_in("DELETE", path)
    unknown = client.as_signed_in("DELETE", f"/auth/sessions/{uuid4()}")

    assert (answer.status_code, answer.json()["code"]) == (404, "session.not_found")
    ours = {"instance", "request_id"}
    assert {name: value for name, value in answer.json().items() if name not in ours} == {
        name: value for name, value in unknown.json().items() if name not in ours
    }, "the response doesn't reveal which ids exist"
    assert victim.as_signed_in("GET", "/auth/me").status_code == 200
    assert victim.refresh().status_code == 200


def test_ending_other_sessions_keeps_other_accounts_sessions(client: Client, app: App, sendgrid: SendGrid) -> None:
    other = Client(app.http, sendgrid).sign_in()
    assert client.sign_in().as_signed_in("DELETE", "/auth/sessions").status_code == 204

    assert other.as_signed_in("GET", "/auth/sessions").status_code == 200
    assert other.refresh().status_code == 200


def test_only_own_sign_in_counts_as_recent(client: Client, app: App) -> None:
    """Otherwise a thief of a session could delete the account (RFC 9470, 3)."""
    client.sign_in()
    app.clock.advance(minutes=5, seconds=1)
    assert client.refresh().status_code == 200
    kept = client.tokens["access_token"]
    client.sign_in()
    challenge = 'Bearer error="insufficient_user_authentication", max_age=300'
    assert_refused(client.ask("DELETE", "/auth/me", bearer=kept), "insufficient_user_authentication", challenge)
    assert client.ask("GET", "/auth/me", bearer=kept).status_code == 200
    assert client.as_signed_in("DELETE", "/auth/me").status_code == 204


def test_cookie_does_not_replace_an_access_token(browser: Browser) -> None:
    """Prevents CSRF: browsers don't send the Authorization header automatically."""
    browser.sign_in()
    for method, path in (
        ("GET", "/auth/me"),
        ("DELETE", "/auth/me"),
        ("DELETE", "/auth/sessions"),
        ("GET", "/auth/sessions"),
    ):
        assert_refused(browser.ask(method, path), "access_token.missing", "Bearer")
    assert_refused(browser.ask("PATCH", "/auth/me", {"display_name": "Eve"}), "access_token.missing", "Bearer")

    assert browser.as_signed_in("GET", "/auth/me").json()["display_name"] is None
