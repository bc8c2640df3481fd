"""The way in: a request, a mail, a link or a code."""

from tests.support.clients import FLOW_COOKIE, REFRESH_COOKIE, Browser, Client, newest_mail


def test_an_app_signs_in_by_the_link_it_asked_for(client: Client) -> None:
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
    assert body["user"]["role"] == "fan"
    assert body["refresh_token"].startswith("art1_")
    assert client.as_signed_in("GET", "/me").json() == body["user"]


def test_a_browser_keeps_its_secrets_in_cookies_that_scripts_cant_read(browser: Browser) -> None:
    answer = browser.request()
    assert "flow_secret" not in answer.json()
    assert set(browser.cookies) == {FLOW_COOKIE}
    [flow] = answer.headers.get_list("set-cookie")
    browser.mails += 1
    mail = newest_mail(browser.sendgrid, browser.email)
    signed_in = browser.verify(token=mail.token)

    assert signed_in.status_code == 200, signed_in.text
    assert "refresh_token" not in signed_in.json()
    assert set(browser.cookies) == {REFRESH_COOKIE}
    cleared, refresh = signed_in.headers.get_list("set-cookie")
    for cookie, seconds in ((flow, 600), (cleared, 0), (refresh, 7 * 24 * 3600)):
        attributes = {part.strip().lower() for part in cookie.split(";")[1:]}
        assert attributes == {"httponly", "secure", "samesite=strict", "path=/", f"max-age={seconds}"} | (
            attributes & {f"max-age={seconds - 1}"}
        )
    assert browser.refresh().status_code == 200
