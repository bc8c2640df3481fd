"""Attacks on cookies: by other sites, by other hosts of the site, by an earlier user of the browser."""

from functools import partial
from typing import Any

import httpx2
import pytest

from tests.support import databases
from tests.support.api import APP_URL
from tests.support.app import App
from tests.support.clients import API, FLOW_COOKIE, REFRESH_COOKIE, Browser, Client, newest_mail
from tests.support.fixtures import StartApp
from tests.support.sendgrid import SendGrid

OTHER_ORIGINS = [
    "https://evil.test",
    "null",
    "",
    "http://app.audifi.test",
    "https://app.audifi.test:8443",
    "https://app.audifi.test/",
    "https://APP.audifi.test",
    "https://app.audifi.test.evil.test",
    "https://evil.app.audifi.test",
    "https://audifi.test",
    "https://app.audifi.test, https://evil.test",
    "*",
]


def column(app: App, browser: Client, name: str) -> object:
    """Return a column of the session's row."""
    query = f"SELECT {name} FROM sessions WHERE id = '{browser.tokens['session']['id']}'"
    return databases.fetch_value(app.database_url, query)


def as_page(browser: Browser, path: str, *, origin: str | None = APP_URL, **headers: str) -> httpx2.Response:
    """Send what a page can make the browser send, with its cookies; keep the browser's own state."""
    cookie = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    sent = {"Fly-Client-IP": browser.ip, "Fly-Forwarded-Proto": "https", "Cookie": cookie} | headers
    if origin is not None:
        sent["Origin"] = origin
    return browser.http.post(API + path, content=b"{}", headers=sent)


JSON = {"Content-Type": "application/json"}
ATTACKS = [
    *(pytest.param({"origin": origin, **JSON}, 403, id=f"origin {origin!r}") for origin in OTHER_ORIGINS),
    pytest.param({"origin": None, **JSON}, 403, id="no origin"),
    pytest.param({"origin": None, "Referer": f"{APP_URL}/", **JSON}, 403, id="a referrer instead of an origin"),
    pytest.param({"Sec-Fetch-Site": "cross-site", **JSON}, 403, id="the browser says that it is another site"),
    pytest.param({"Content-Type": "text/plain"}, 415, id="plain text"),
    pytest.param({"Content-Type": "application/x-www-form-urlencoded"}, 415, id="a form"),
    pytest.param({"Content-Type": "multipart/form-data; boundary=x"}, 415, id="a form with files"),
    pytest.param({"Content-Type": "text/plain; application/json"}, 415, id="plain text that says JSON"),
    pytest.param({"Content-Type": "application/jsonp"}, 415, id="almost JSON"),
    pytest.param({"Content-Type": "application/evil+json"}, 415, id="another kind of JSON"),
    pytest.param({}, 415, id="no content type"),
    pytest.param({"Content-Type": ""}, 415, id="an empty content type"),
]


@pytest.fixture(scope="module")
def victim(shared_app: App, shared_sendgrid: SendGrid) -> Browser:
    """A browser that stays signed in: no attack may end its session."""
    browser = Browser(shared_app.http, shared_sendgrid)
    browser.sign_in()
    return browser


@pytest.mark.parametrize("path", ["/auth/refresh", "/auth/logout"])
@pytest.mark.parametrize(("sent", "status"), ATTACKS)
def test_other_pages_cannot_use_the_refresh_cookie(
    victim: Browser, app: App, path: str, sent: dict[str, Any], status: int
) -> None:
    answer = as_page(victim, path, **sent)

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == ("origin.refused" if status == 403 else "request.unsupported_media_type")
    assert "set-cookie" not in answer.headers
    assert "access_token" not in answer.text
    assert column(app, victim, "generation") == 0
    assert column(app, victim, "revoked_at") is None


def test_cookie_without_a_body_is_refused(browser: Browser, app: App) -> None:
    browser.sign_in()
    cookie = {"Cookie": f"{REFRESH_COOKIE}={browser.cookies[REFRESH_COOKIE]}"}
    for path in ("/auth/refresh", "/auth/logout"):
        answer = browser.http.post(API + path, headers={"Origin": APP_URL, **cookie})
        assert (answer.status_code, answer.json()["code"]) == (415, "request.unsupported_media_type")

    assert column(app, browser, "generation") == 0
    assert column(app, browser, "revoked_at") is None


@pytest.mark.parametrize("site", ["same-origin", "same-site", None])
@pytest.mark.parametrize("content_type", ["application/json", "Application/JSON; charset=utf-8"])
def test_frontend_page_can_refresh_with_the_cookie(
    browser: Browser, app: App, site: str | None, content_type: str
) -> None:
    browser.sign_in()
    site_header = {"Sec-Fetch-Site": site} if site else {}

    assert as_page(browser, "/auth/refresh", **{"Content-Type": content_type}, **site_header).status_code == 200
    assert column(app, browser, "generation") == 1


def test_allowed_origin_can_refresh_with_the_cookie(start_app: StartApp, database_url: str, sendgrid: SendGrid) -> None:
    app = start_app(database_url, allowed_origins="https://admin.audifi.test")
    browser = Browser(app.http, sendgrid).sign_in()
    assert isinstance(browser, Browser)

    assert as_page(browser, "/auth/refresh", origin="https://admin.audifi.test", **JSON).status_code == 200
    assert as_page(browser, "/auth/refresh", origin="https://evil.test", **JSON).status_code == 403


def test_docs_page_can_refresh_with_the_cookie(browser: Browser, app: App) -> None:
    browser.sign_in()
    own_origin = app.url.replace("http:", "https:")
    for origin in (app.url, "https://127.0.0.1", "https://127.0.0.1:1", f"{own_origin}.evil.test", f"{own_origin}/"):
        assert as_page(browser, "/auth/refresh", origin=origin, **JSON).status_code == 403

    assert as_page(browser, "/auth/refresh", origin=own_origin, **JSON).status_code == 200


def test_own_origin_is_refused_without_docs(start_app: StartApp, database_url: str, sendgrid: SendGrid) -> None:
    app = start_app(database_url, docs_enabled=False)
    browser = Browser(app.http, sendgrid).sign_in()
    assert isinstance(browser, Browser)

    own_origin = app.url.replace("http:", "https:")
    assert as_page(browser, "/auth/refresh", origin=own_origin, **JSON).json()["code"] == "origin.refused"


def test_client_without_cookies_needs_no_origin(client: Client) -> None:
    """Native apps send no credentials automatically, and have no origin."""
    client.sign_in()
    for headers in ({}, {"Origin": "https://evil.test"}, {"Sec-Fetch-Site": "cross-site"}):
        client.headers = headers
        assert client.refresh().status_code == 200


@pytest.mark.parametrize("path", ["/auth/refresh", "/auth/logout"])
def test_refresh_token_in_cookie_and_body_is_refused(browser: Browser, app: App, path: str) -> None:
    browser.sign_in()
    for token in (browser.cookies[REFRESH_COOKIE], "art1_" + "A" * 70):
        answer = browser.ask("POST", path, {"refresh_token": token})
        assert (answer.status_code, answer.json()["code"]) == (400, "token.ambiguous")
        assert "set-cookie" not in answer.headers

    assert column(app, browser, "generation") == 0
    assert column(app, browser, "revoked_at") is None


def test_cookies_have_secure_attributes(browser: Browser) -> None:
    requested = browser.request()
    mail = newest_mail(browser.sendgrid, browser.email)
    answers = [requested, browser.verify(token=mail.token), browser.refresh(), browser.ask("POST", "/auth/logout", {})]

    cookies = [cookie for answer in answers for cookie in answer.headers.get_list("set-cookie")]
    names = [cookie.partition("=")[0] for cookie in cookies]
    assert names == [FLOW_COOKIE, FLOW_COOKIE, REFRESH_COOKIE, REFRESH_COOKIE, REFRESH_COOKIE]
    for cookie in cookies:
        attributes = {part.strip().lower() for part in cookie.split(";")[1:]}
        lasting = {name for name in attributes if not name.startswith("max-age=")}
        assert lasting == {"httponly", "secure", "samesite=strict", "path=/"}


def test_flow_by_body_replaces_the_flow_cookie(browser: Browser) -> None:
    browser.request_mail()
    mail = browser.request_mail(delivery="body")
    answer = browser.verify(flow_id=browser.flow["flow_id"], code=mail.code, flow_secret=browser.flow["flow_secret"])

    assert answer.status_code == 200
    assert browser.cookies == {}
    assert browser.tokens["refresh_token"]


@pytest.mark.parametrize("way", ["link", "code"])
def test_script_cannot_request_the_token_in_the_body(browser: Browser, way: str) -> None:
    mail = browser.request_mail()
    typed = {"token": mail.token} if way == "link" else {"flow_id": browser.flow["flow_id"], "code": mail.code}
    answer = browser.verify(**typed, delivery="body")

    assert answer.status_code == 200
    assert "refresh_token" not in answer.json()
    assert set(browser.cookies) == {REFRESH_COOKIE}


def test_browser_responses_contain_no_cookie_secrets(browser: Browser) -> None:
    """Otherwise an injected script could read them."""
    mail = browser.request_mail()
    secrets = [browser.cookies[FLOW_COOKIE]]
    answers = [browser.verify(token=mail.token)]
    secrets.append(browser.cookies[REFRESH_COOKIE])
    answers.append(browser.refresh())
    secrets.append(browser.cookies[REFRESH_COOKIE])

    for answer in answers:
        assert answer.status_code == 200
        assert not any(secret in answer.text for secret in secrets)
        assert "refresh_token" not in answer.json()


def names_of(answer: httpx2.Response) -> set[str]:
    return {cookie.partition("=")[0] for cookie in answer.headers.get_list("set-cookie")}


def test_only_local_development_gets_insecure_cookies(
    start_app: StartApp, app: App, database_url: str, sendgrid: SendGrid
) -> None:
    development = partial(start_app, database_url, environment="development")
    local = development(trusted_proxies="")
    plain = Browser(local.http, sendgrid)
    mail = plain.request_mail()
    signed_in = plain.verify(token=mail.token)
    refreshed = plain.refresh()

    assert (signed_in.status_code, refreshed.status_code) == (200, 200)
    assert set(plain.cookies) == {"audifi_refresh"}
    for cookie in [*signed_in.headers.get_list("set-cookie"), *refreshed.headers.get_list("set-cookie")]:
        attributes = {part.strip().lower().partition("=")[0] for part in cookie.split(";")[1:]}
        assert attributes == {"httponly", "samesite", "path", "max-age"}
    for host in ("localhost", "localhost:8080", "127.0.0.1", "[::1]:8080"):
        assert names_of(ask_as(plain, host)) == {"audifi_flow"}
    for host in ("audifi.test", "localhost.evil.test", "evil.test:8080", "127.0.0.1.evil.test", "10.0.0.1"):
        assert names_of(ask_as(plain, host)) == {FLOW_COOKIE}, host
    behind_tls = Browser(development().http, sendgrid)  # the trusted proxy's header says https
    assert names_of(ask_as(behind_tls, "localhost")) == {FLOW_COOKIE}
    production = Browser(app.http, sendgrid, headers={"Origin": APP_URL, "Fly-Forwarded-Proto": "http"})
    assert names_of(ask_as(production, "localhost")) == {FLOW_COOKIE}


def ask_as(browser: Browser, host: str) -> httpx2.Response:
    """Request a link with this Host header."""
    new = Browser(browser.http, browser.sendgrid, headers=browser.headers | {"Host": host})
    answer = new.request()
    assert answer.status_code == 202, answer.text
    return answer


def test_cookie_without_prefix_is_ignored_in_production(browser: Browser, app: App) -> None:
    """Another host of the domain, or an attacker on the network, can set it."""
    browser.sign_in()
    browser.cookies = {"audifi_refresh": browser.cookies[REFRESH_COOKIE]}
    answer = browser.refresh()

    assert (answer.status_code, answer.json()["code"]) == (401, "refresh_token.missing")
    assert column(app, browser, "generation") == 0


@pytest.mark.parametrize("by", ["link", "code"])
def test_sign_in_ignores_a_planted_session(browser: Browser, app: App, sendgrid: SendGrid, by: str) -> None:
    attacker = Browser(app.http, sendgrid)
    attacker.sign_in()
    mail = browser.request_mail()
    proof = {"token": mail.token} if by == "link" else {"flow_id": browser.flow["flow_id"], "code": mail.code}
    browser.cookies[REFRESH_COOKIE] = attacker.cookies[REFRESH_COOKIE]
    answer = browser.verify(**proof)

    assert answer.status_code == 200
    assert answer.json()["user"]["email"] == browser.email
    assert answer.json()["session"]["id"] != attacker.tokens["session"]["id"]
    assert browser.cookies[REFRESH_COOKIE] != attacker.cookies[REFRESH_COOKIE]
    assert attacker.refresh().status_code == 401
    assert browser.refresh().status_code == 200


@pytest.mark.parametrize("planted", ["x", "art1_" + "A" * 70, "art1_" + "_" * 70, '"', "%00", "a" * 4000])
def test_malformed_cookie_does_not_prevent_sign_in(browser: Browser, planted: str) -> None:
    mail = browser.request_mail()
    browser.cookies[REFRESH_COOKIE] = planted
    assert browser.verify(token=mail.token).status_code == 200

    browser.cookies[REFRESH_COOKIE] = planted
    assert browser.ask("POST", "/auth/logout", {}).status_code == 204
    browser.cookies[REFRESH_COOKIE] = planted
    answer = browser.refresh()
    assert (answer.status_code, answer.json()["code"]) == (401, "refresh_token.invalid")
    assert browser.cookies == {}


def test_new_sign_in_in_a_browser_ends_its_session(browser: Browser, app: App) -> None:
    browser.sign_in()
    former = Browser(browser.http, browser.sendgrid, cookies=dict(browser.cookies), tokens=browser.tokens)
    browser.sign_in()

    assert former.tokens["session"]["id"] != browser.tokens["session"]["id"]
    assert column(app, former, "revoked_reason") == "replaced"
    assert former.as_signed_in("GET", "/auth/sessions").status_code == 401
    assert former.refresh().json()["code"] == "refresh_token.revoked"
    assert browser.refresh().status_code == 200


def test_late_refresh_of_old_session_keeps_the_new_cookie(browser: Browser) -> None:
    """One tab refreshes while another signs in: the late response must not clear the new cookie."""
    browser.sign_in()
    former = browser.cookies[REFRESH_COOKIE]
    browser.sign_in()
    newest = dict(browser.cookies)
    late = browser.refresh(former)

    assert (late.status_code, late.json()["code"]) == (401, "refresh_token.revoked")
    assert late.headers["www-authenticate"] == "Bearer"
    assert late.headers.get_list("set-cookie") == []
    browser.cookies = newest
    assert browser.refresh().status_code == 200


def test_failed_sign_in_keeps_the_browsers_session(browser: Browser) -> None:
    browser.sign_in()
    assert browser.verify(token="A" * 43, confirm=True).status_code == 401

    assert browser.refresh().status_code == 200


def test_sign_out_clears_the_cookie_and_ends_the_session(browser: Browser, app: App) -> None:
    browser.sign_in()
    kept = browser.cookies[REFRESH_COOKIE]
    answer = browser.ask("POST", "/auth/logout", {})

    assert answer.status_code == 204
    assert browser.cookies == {}
    assert column(app, browser, "revoked_reason") == "signed_out"
    assert browser.refresh(kept).json()["code"] == "refresh_token.revoked"


def preflight(app: App, path: str, origin: str) -> httpx2.Response:
    request_headers = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type,authorization",
    }
    return app.http.options(API + path, headers={"Origin": origin, **request_headers})


@pytest.mark.parametrize("path", ["/auth/refresh", "/auth/magic-link/verify", "/auth/logout"])
def test_preflight_allows_only_the_frontends_origin(app: App, path: str) -> None:
    granted = preflight(app, path, APP_URL)
    assert granted.status_code == 200
    assert granted.headers["access-control-allow-origin"] == APP_URL
    assert granted.headers["access-control-allow-credentials"] == "true"
    assert "origin" in granted.headers["vary"].lower()

    for origin in filter(None, OTHER_ORIGINS):
        refused = preflight(app, path, origin)
        assert refused.status_code == 400
        assert "access-control-allow-origin" not in refused.headers
