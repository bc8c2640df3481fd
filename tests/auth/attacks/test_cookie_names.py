"""Cookies with lookalike names, which other hosts of the site can set (RFC 6265bis, 5.7)."""

import pytest

from tests.support.app import App
from tests.support.clients import FLOW_COOKIE, REFRESH_COOKIE, Browser
from tests.support.sendgrid import SendGrid

# Python's str.strip() removes these characters; browsers send them as part of the name.
NO_BLANKS = ["\xa0", "\x85"]


@pytest.fixture
def attacker(app: App, sendgrid: SendGrid) -> Browser:
    attacker = Browser(app.http, sendgrid)
    attacker.sign_in()
    return attacker


@pytest.mark.parametrize("blank", NO_BLANKS)
def test_lookalike_refresh_cookie_is_ignored(browser: Browser, attacker: Browser, blank: str) -> None:
    browser.sign_in()
    browser.cookies[f"{blank}{REFRESH_COOKIE}"] = attacker.cookies[REFRESH_COOKIE]
    answer = browser.refresh()

    assert answer.status_code == 200
    assert browser.as_signed_in("GET", "/auth/me").json()["email"] == browser.email


@pytest.mark.parametrize("blank", NO_BLANKS)
def test_lookalike_flow_cookie_is_ignored(browser: Browser, attacker: Browser, blank: str) -> None:
    mail = attacker.request_mail()
    browser.request_mail()
    browser.cookies[f"{blank}{FLOW_COOKIE}"] = attacker.cookies[FLOW_COOKIE]
    answer = browser.verify(token=mail.token)

    assert (answer.status_code, answer.json()["code"]) == (409, "magic_link.confirmation_required")


def test_duplicate_cookies_are_refused(browser: Browser, attacker: Browser) -> None:
    browser.sign_in()
    both = [f"{REFRESH_COOKIE}={each.cookies[REFRESH_COOKIE]}" for each in (browser, attacker)]
    answer = browser.ask("POST", "/auth/refresh", {}, headers={"Cookie": "; ".join(both)})

    assert (answer.status_code, answer.json()["code"]) == (400, "token.ambiguous")
    assert browser.refresh().status_code == 200
