"""Attacks on links: by scanners, by guessing, with another person's link."""

from collections import Counter
from datetime import datetime
from functools import partial

import pytest

from tests.support import databases
from tests.support.app import App, Clock
from tests.support.clients import FLOW_COOKIE, REFRESH_COOKIE, Browser, Client, at_once, count_rows, elsewhere
from tests.support.sendgrid import SendGrid

VERIFY = "/auth/magic-link/verify"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_get_requests_do_not_use_up_the_link(client: Client, method: str) -> None:
    mail = client.request_mail()
    for _ in range(10):
        answer = client.ask(method, f"{VERIFY}?token={mail.token}&confirm=true", headers={"Accept": "text/html"})
        assert answer.status_code == 405
        assert answer.headers["allow"] == "POST"

    assert client.verify(token=mail.token, **client.secret()).status_code == 200


def test_scanners_post_requires_confirmation(client: Client, app: App) -> None:
    mail = client.request_mail()
    scanner = Client(client.http, client.sendgrid, headers={"User-Agent": "Scanner/1.0"})
    for _ in range(5):
        answer = scanner.verify(token=mail.token)
        assert answer.status_code == 409
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["cache-control"] == "no-store"
        problem = answer.json()
        assert problem["code"] == "magic_link.confirmation_required"
        assert problem["email"] == "a•••@example.com"
        assert datetime.fromisoformat(problem["requested_at"]) <= app.clock()
        assert problem["user_agent"].startswith("python-httpx2"), "the requesting browser's, not the scanner's"
        assert client.email not in answer.text
        assert client.email.partition("@")[0] not in answer.text
        assert "set-cookie" not in answer.headers
    assert count_rows(app.database_url, "sessions", client.email) == 0

    assert scanner.verify(token=mail.token, confirm=True).status_code == 200
    again = scanner.verify(token=mail.token, confirm=True)
    assert (again.status_code, again.json()["code"]) == (401, "magic_link.used")
    assert again.headers["www-authenticate"] == "Bearer"
    asker = client.verify(token=mail.token, **client.secret())
    assert (asker.status_code, asker.json()["code"]) == (401, "magic_link.used")


def test_link_used_concurrently_signs_in_once(client: Client, app: App) -> None:
    mail = client.request_mail()
    answers = at_once([partial(elsewhere(client).verify, token=mail.token, confirm=True) for _ in range(50)])

    assert Counter(answer.status_code for answer in answers) == {200: 1, 401: 49}
    assert {answer.json()["code"] for answer in answers if answer.status_code == 401} == {"magic_link.used"}
    assert count_rows(app.database_url, "sessions", client.email) == 1


def test_links_used_concurrently_create_one_account(app: App, sendgrid: SendGrid) -> None:
    for _ in range(10):
        client = Client(app.http, sendgrid)
        tokens = [client.request_mail().token for _ in range(2)]
        answers = at_once([partial(elsewhere(client).verify, token=token, confirm=True) for token in tokens])

        signed_in = [answer.json() for answer in answers if answer.status_code == 200]
        assert {answer.status_code for answer in answers} <= {200, 401}
        assert [body["created"] for body in signed_in].count(True) == 1
        assert len({body["user"]["id"] for body in signed_in}) == 1
        assert count_rows(app.database_url, "users", client.email) == 1
        assert count_rows(app.database_url, "sessions", client.email) == len(signed_in)


def test_sign_in_consumes_all_open_links_of_the_address(client: Client) -> None:
    first = client.request_mail()
    first_flow = {"flow_id": client.flow["flow_id"], "code": first.code, **client.secret()}
    second = client.request_mail()
    assert client.verify(token=second.token, **client.secret()).status_code == 200

    for proof in ({"token": first.token, "confirm": True}, first_flow):
        answer = client.verify(**proof)
        assert (answer.status_code, answer.json()["code"]) == (401, "magic_link.used")


def test_sign_in_leaves_expired_links_expired(client: Client, app: App) -> None:
    mail = client.request_mail()
    app.clock.advance(minutes=11)
    client.sign_in()

    assert client.verify(token=mail.token, confirm=True).json()["code"] == "magic_link.expired"


@pytest.mark.parametrize("before_or_after", ["0", "z"])
def test_sign_in_keeps_links_of_other_addresses(
    client: Client, app: App, sendgrid: SendGrid, before_or_after: str
) -> None:
    other = Client(app.http, sendgrid, ip=client.ip, email=before_or_after + client.email)
    mail = other.request_mail()
    client.sign_in()

    assert other.verify(token=mail.token, **other.secret()).status_code == 200


def test_new_request_keeps_earlier_links_valid(client: Client) -> None:
    mail, secret = client.request_mail(), client.secret()
    stranger = elsewhere(client)
    assert stranger.request().status_code == 202

    assert client.verify(token=mail.token, **secret).status_code == 200


def test_link_expires_after_ten_minutes(client: Client, app: App) -> None:
    mail = client.request_mail()
    app.clock.advance(minutes=9, seconds=50)
    assert client.verify(token=mail.token).status_code == 409
    app.clock.advance(seconds=10)

    for fields in ({}, {"confirm": True}, client.secret()):
        answer = client.verify(token=mail.token, **fields)
        assert (answer.status_code, answer.json()["code"]) == (401, "magic_link.expired")


def test_link_and_code_are_expired_exactly_at_expires_at(
    client: Client, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second query finds the reason for the refusal: both must agree on the time of expiry."""
    mail = client.request_mail()
    flow_id = client.flow["flow_id"]
    end = databases.fetch_value(app.database_url, "SELECT expires_at FROM sign_in_flows WHERE id = $1", flow_id)
    monkeypatch.setattr(Clock, "__call__", lambda _: end)

    for proof in ({"token": mail.token}, {"flow_id": flow_id, "code": mail.code}):
        answer = client.verify(**proof, **client.secret())
        assert (answer.status_code, answer.json()["code"]) == (401, "magic_link.expired")


def test_guessed_link_token_is_refused(client: Client) -> None:
    mail = client.request_mail()
    token = mail.token
    guesses = {"x", "A" * 43, "A" * 256, mail.code, client.flow["flow_id"], client.flow["flow_secret"], "'OR'1'='1"}
    guesses |= {token + "=", token + "A", token[:-1], token.swapcase(), token[::-1], token[1:] + token[0]}
    for guess in guesses - {token}:
        answer = client.verify(token=guess, confirm=True)
        assert (answer.status_code, answer.json()["code"]) == (401, "magic_link.invalid"), guess
        assert answer.headers["www-authenticate"] == "Bearer"

    assert client.verify(token=token, **client.secret()).status_code == 200


@pytest.mark.parametrize(
    "token", ["", "A" * 4097, "A" * 60_000, "with space", "\u0430" * 43, "nul\0", "line\n", 5, True, [], ["A" * 43], {}]
)
def test_malformed_link_token_is_refused_and_not_repeated(client: Client, token: object) -> None:
    answer = client.verify(token=token, confirm=True)

    assert answer.status_code == 422
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json()["errors"][0]["pointer"] == "/token"
    assert "input" not in answer.text
    assert "AAAA" not in answer.text


@pytest.mark.parametrize(
    "confirm",
    [
        None,
        "maybe",
        "",
        2,
        0.5,
        [],
        [True],
        {},
        "true",
        "yes",
        "on",
        1,
    ],
)
def test_confirm_must_be_a_boolean(client: Client, confirm: object) -> None:
    mail = client.request_mail()
    answer = client.verify(token=mail.token, confirm=confirm)

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/confirm"


def test_request_headers_do_not_change_the_links_host(client: Client) -> None:
    evil = "evil.example"
    client.headers = {
        "Host": evil,
        "X-Forwarded-Host": evil,
        "X-Forwarded-Server": evil,
        "X-Original-URL": f"https://{evil}/",
        "X-Host": evil,
        "Forwarded": f"host={evil};proto=http",
        "Origin": f"https://{evil}",
        "Referer": f"https://{evil}/",
    }
    client.request_mail()  # asserts that the link is on APP_URL, with the token in its fragment

    assert evil not in str(client.sendgrid.mails_to(client.email))


def test_link_token_outside_the_body_is_ignored(client: Client) -> None:
    mail = client.request_mail()
    path = f"{VERIFY}?token={mail.token}&confirm=true"
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    answers = [
        client.ask("POST", path, {}),
        client.ask("POST", path, client.secret()),
        client.ask("POST", path),
        client.ask("POST", VERIFY, {}, headers={"Cookie": f"token={mail.token}"}),
        client.ask("POST", VERIFY, {}, bearer=mail.token),
        client.ask("POST", VERIFY, content=f"token={mail.token}&confirm=true", headers=form),
    ]

    assert [answer.status_code for answer in answers] == [422, 422, 422, 422, 422, 415]
    assert client.verify(token=mail.token, **client.secret()).status_code == 200


def test_attackers_link_requires_the_victims_confirmation(
    client: Client, app: App, sendgrid: SendGrid, browser: Browser
) -> None:
    """Login CSRF: a page or an e-mail makes the victim's browser use the attacker's link."""
    browser.sign_in()
    victim = browser.tokens["user"]
    mail = client.request_mail()
    answers = [
        browser.verify(token=mail.token),
        browser.verify(token=mail.token, confirm=False),
        browser.verify(token=mail.token, delivery="cookie"),
        browser.verify(token=mail.token, flow_secret="A" * 43),
        browser.verify(token=mail.token, **Client(app.http, sendgrid).sign_in().secret()),
    ]

    assert [answer.status_code for answer in answers] == [409] * 5
    assert not any("set-cookie" in answer.headers for answer in answers)
    assert browser.refresh().status_code == 200
    assert browser.as_signed_in("GET", "/auth/me").json() == victim


def test_planted_flow_cookie_is_harmless(app: App, sendgrid: SendGrid, browser: Browser) -> None:
    attacker = Browser(app.http, sendgrid, email=browser.email)
    attacker.request_mail()
    planted = attacker.cookies[FLOW_COOKIE]
    browser.mails = 1
    mail = browser.request_mail()
    browser.cookies = {FLOW_COOKIE: planted}
    assert browser.verify(token=mail.token).status_code == 409
    assert browser.verify(token=mail.token, confirm=True).status_code == 200

    refresh = browser.cookies[REFRESH_COOKIE]
    assert planted not in refresh
    assert FLOW_COOKIE not in browser.cookies
    assert attacker.verify(token=mail.token).status_code == 401
    assert attacker.refresh(planted).status_code == 401


def test_planted_refresh_cookie_is_replaced(client: Client, browser: Browser) -> None:
    client.sign_in()
    planted = client.tokens["refresh_token"]
    mail = browser.request_mail()
    browser.cookies[REFRESH_COOKIE] = planted
    assert browser.verify(token=mail.token).status_code == 200

    assert browser.tokens["user"]["email"] == browser.email
    assert browser.tokens["session"]["id"] != client.tokens["session"]["id"]
    assert browser.cookies[REFRESH_COOKIE] != planted
    answer = client.refresh(planted)
    assert (answer.status_code, answer.json()["code"]) == (401, "refresh_token.revoked")


def test_flow_cookie_without_prefix_is_ignored(browser: Browser) -> None:
    mail = browser.request_mail()
    browser.cookies = {FLOW_COOKIE.removeprefix("__Host-"): browser.cookies[FLOW_COOKIE]}

    assert browser.verify(token=mail.token).status_code == 409


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": ""}, 403),
        ({"Origin": "https://app.audifi.test.evil.example"}, 403),
        ({"Origin": "https://app.audifi.test:8443"}, 403),
        ({"Origin": "http://app.audifi.test"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
    ],
)
def test_other_origins_cannot_use_the_flow_cookie(browser: Browser, headers: dict[str, str], status: int) -> None:
    mail = browser.request_mail()
    answer = browser.ask("POST", VERIFY, {"token": mail.token}, headers=headers)
    assert answer.status_code == status
    assert "set-cookie" not in answer.headers

    assert browser.verify(token=mail.token).status_code == 200


def test_flow_secret_in_cookie_and_body_is_refused(browser: Browser) -> None:
    mail = browser.request_mail()
    answer = browser.verify(token=mail.token, flow_secret=browser.cookies[FLOW_COOKIE])
    assert (answer.status_code, answer.json()["code"]) == (400, "token.ambiguous")

    assert browser.verify(token=mail.token).status_code == 200
