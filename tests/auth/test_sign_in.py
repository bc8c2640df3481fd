"""Sign-in: the request, the e-mail, the link and the code."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import jwt
import pytest

from tests.support import databases
from tests.support.app import App
from tests.support.clients import FLOW_COOKIE, REFRESH_COOKIE, Browser, Client, newest_mail
from tests.support.sendgrid import SendGrid


def test_client_signs_in_with_its_link(client: Client) -> None:
    mail = client.request_mail(redirect_to="/studio?tab=2")
    answer = client.verify(token=mail.token, **client.secret())

    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert "set-cookie" not in answer.headers
    body = answer.json()
    assert body["token_type"] == "Bearer"
    assert body["expires_in"] == 600
    assert body["created"] is True
    assert body["redirect_to"] == "/studio?tab=2"
    assert body["user"]["email"] == client.email
    assert (body["user"]["role"], body["user"]["display_name"]) == ("fan", None)
    assert body["refresh_token"].startswith("art1_")
    assert client.as_signed_in("GET", "/auth/me").json() == body["user"]


def test_code_signs_in_on_the_requesting_device(client: Client) -> None:
    mail = client.request_mail()
    answer = client.verify(flow_id=client.flow["flow_id"], code=mail.code, **client.secret())

    assert answer.status_code == 200
    assert answer.json()["redirect_to"] is None
    assert client.as_signed_in("GET", "/auth/me").status_code == 200


def test_link_and_code_sign_in_to_the_same_account(client: Client) -> None:
    mail = client.request_mail()
    first = client.verify(token=mail.token, **client.secret()).json()
    mail = client.request_mail()
    second = client.verify(flow_id=client.flow["flow_id"], code=mail.code, **client.secret()).json()

    assert (first["created"], second["created"]) == (True, False)
    assert first["user"] == second["user"]
    assert first["session"]["id"] != second["session"]["id"]


def test_addresses_at_example_com_get_the_test_code(
    start_app: Callable[..., App], database_url: str, sendgrid: SendGrid
) -> None:
    app = start_app(database_url, environment="development", test_code="01234567")
    client = Client(app.http, sendgrid)
    mail = client.request_mail()
    real = Client(app.http, sendgrid, email=f"{uuid4().hex}@example.com.audifi.org")

    assert mail.code == "01234567"
    assert client.verify(flow_id=client.flow["flow_id"], code=mail.code, **client.secret()).status_code == 200
    assert real.request_mail().code != "01234567"


def test_browser_gets_its_secrets_as_httponly_cookies(browser: Browser) -> None:
    requested = browser.request()
    assert "flow_secret" not in requested.json()
    assert set(browser.cookies) == {FLOW_COOKIE}
    mail = newest_mail(browser.sendgrid, browser.email)
    answer = browser.verify(token=mail.token)

    assert answer.status_code == 200, answer.text
    assert "refresh_token" not in answer.json()
    assert set(browser.cookies) == {REFRESH_COOKIE}
    [flow] = requested.headers.get_list("set-cookie")
    cleared, refresh = answer.headers.get_list("set-cookie")
    for cookie, seconds in ((flow, 600), (cleared, 0), (refresh, 7 * 24 * 3600)):
        attributes = {part.strip().lower() for part in cookie.split(";")[1:]}
        assert attributes == {"httponly", "secure", "samesite=strict", "path=/", f"max-age={seconds}"}


def test_browser_refreshes_with_its_cookie(browser: Browser) -> None:
    browser.sign_in()
    before, first = browser.cookies[REFRESH_COOKIE], browser.tokens
    answer = browser.refresh()

    assert answer.status_code == 200
    assert "refresh_token" not in answer.json()
    assert browser.cookies[REFRESH_COOKIE] != before
    assert answer.json()["access_token"] != first["access_token"]
    assert browser.as_signed_in("GET", "/auth/me").status_code == 200


def test_link_on_another_device_requires_confirmation(client: Client, app: App, browser: Browser) -> None:
    mail = client.request_mail()
    first = browser.verify(token=mail.token)
    agreed = browser.verify(token=mail.token, confirm=True, delivery="cookie")

    assert first.status_code == 409
    problem = first.json()
    assert problem["code"] == "magic_link.confirmation_required"
    assert problem["email"] == f"{client.email[0]}•••@example.com"
    assert datetime.fromisoformat(problem["requested_at"]) < app.clock()
    assert problem["user_agent"].startswith("python-httpx2")
    assert agreed.status_code == 200
    assert set(browser.cookies) == {REFRESH_COOKIE}


def test_delivery_defaults_to_the_requests(client: Client, browser: Browser) -> None:
    mail = client.request_mail()
    answer = browser.verify(token=mail.token, confirm=True)

    assert "refresh_token" in answer.json()
    assert browser.cookies == {}


def test_request_returns_lifetime_and_resend_delay(client: Client) -> None:
    requested = client.request()

    assert requested.status_code == 202
    assert set(requested.json()) == {"flow_id", "expires_in", "resend_after", "flow_secret"}
    assert (requested.json()["expires_in"], requested.json()["resend_after"]) == (600, 60)


def test_access_token_has_the_claims_of_rfc_9068(client: Client) -> None:
    client.sign_in()
    token = client.tokens["access_token"]
    header = jwt.get_unverified_header(token)
    claims = jwt.decode(token, options={"verify_signature": False})

    assert (header["alg"], header["typ"]) == ("HS256", "at+jwt")
    assert header.keys() == {"alg", "typ", "kid"}
    assert claims.keys() == {"iss", "aud", "sub", "sid", "jti", "iat", "exp", "auth_time", "amr"}
    assert claims["exp"] - claims["iat"] == 600
    assert claims["sub"] == client.tokens["user"]["id"]
    assert claims["sid"] == client.tokens["session"]["id"]
    assert claims["iss"] == "https://audifi-api.fly.dev"
    assert claims["aud"] == "audifi-api"
    assert abs(claims["auth_time"] - datetime.now(UTC).timestamp()) < 5


@pytest.mark.parametrize(("by", "amr"), [("link", ["email"]), ("code", ["email", "otp"])])
def test_access_token_has_the_authentication_methods(client: Client, by: str, amr: list[str]) -> None:
    mail = client.request_mail()
    proof = {"token": mail.token} if by == "link" else {"flow_id": client.flow["flow_id"], "code": mail.code}
    client.verify(**proof, **client.secret())

    assert jwt.decode(client.tokens["access_token"], options={"verify_signature": False})["amr"] == amr


def test_access_token_expires_with_its_session(client: Client, app: App) -> None:
    client.sign_in()
    for days in (6, 12, 18, 24):
        app.clock.ahead = timedelta(days=days)
        assert client.refresh().status_code == 200
    app.clock.ahead = timedelta(days=30, seconds=-90)
    answer = client.refresh()

    assert answer.status_code == 200
    assert 60 < answer.json()["expires_in"] <= 90
    assert answer.json()["session"]["idle_expires_at"] == answer.json()["session"]["absolute_expires_at"]


def test_verify_requires_either_link_or_code(client: Client) -> None:
    mail = client.request_mail()
    flow = {"flow_id": client.flow["flow_id"]}
    for fields in ({}, flow, {"code": mail.code}, flow | {"code": mail.code, "token": mail.token}, {"confirm": True}):
        assert client.verify(**client.secret(), **fields).status_code == 422

    assert client.verify(token=mail.token, **client.secret()).status_code == 200


def test_account_is_created_at_the_first_sign_in(client: Client, app: App) -> None:
    client.request_mail()

    query = f"SELECT count(*) FROM users WHERE email = '{client.email}'"
    assert databases.fetch_value(app.database_url, query) == 0
