"""Database outages: requests fail fast, nobody is signed out, and the server recovers."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx2
import pytest

from audifi.core.jobs import queue as jobs
from dev import postgres
from dev.postgres import Postgres
from tests.support import api as apis
from tests.support import databases
from tests.support.api import APP_URL
from tests.support.clients import REFRESH_COOKIE, Browser, Client, at_once
from tests.support.fixtures import StartApp
from tests.support.relay import relay
from tests.support.sendgrid import SendGrid

pytestmark = pytest.mark.slow


def assert_unavailable(
    ask: Callable[[], httpx2.Response], *, within: float, code: str = "database.unavailable"
) -> None:
    began = time.monotonic()
    answer = ask()
    took = time.monotonic() - began

    assert (answer.status_code, answer.json()["code"]) == (503, code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["access-control-allow-origin"] == APP_URL
    assert int(answer.headers["retry-after"]) > 0
    assert answer.headers["cache-control"] == "no-store"
    assert "set-cookie" not in answer.headers
    assert "www-authenticate" not in answer.headers, "clients would sign out"
    assert took < within


def requests_of(browser: Browser, client: Client) -> list[Callable[[], httpx2.Response]]:
    """Return a request of each kind of route; all need the database."""
    return [
        lambda: browser.ask("POST", "/auth/refresh", {}),
        lambda: client.ask("POST", "/auth/refresh", {"refresh_token": client.tokens["refresh_token"]}),
        lambda: browser.as_signed_in("GET", "/auth/me"),
        lambda: browser.as_signed_in("PATCH", "/auth/me", {"display_name": "Eve"}),
        lambda: browser.as_signed_in("DELETE", "/auth/me"),
        lambda: browser.as_signed_in("GET", "/auth/sessions"),
        lambda: browser.ask("POST", "/auth/logout", {}),
        lambda: Client(client.http, client.sendgrid, headers=client.headers).request(),
        lambda: client.ask("POST", "/auth/magic-link/verify", {"token": "A" * 43, "confirm": True}),
    ]


def signed_in(http: httpx2.Client, sendgrid: SendGrid) -> tuple[Browser, Client]:
    browser, client = Browser(http, sendgrid), Client(http, sendgrid, headers={"Origin": APP_URL})
    browser.sign_in()
    client.sign_in()
    return browser, client


def assert_still_signed_in(browser: Browser, client: Client, cookie: str) -> None:
    assert browser.cookies == {REFRESH_COOKIE: cookie}
    assert browser.refresh().status_code == client.refresh().status_code == 200
    for person in (browser, client):
        assert person.as_signed_in("GET", "/auth/me").json()["display_name"] is None
    new = Client(client.http, client.sendgrid).sign_in()
    assert new.as_signed_in("GET", "/auth/me").status_code == 200


def test_stopped_database_signs_nobody_out(
    start_app: StartApp, sendgrid: SendGrid, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "RESTART_SECONDS", 0.2)
    port = apis.free_port()
    with TemporaryDirectory(prefix="audifi-tests-") as folder, ExitStack() as server:

        def start() -> None:
            server.enter_context(postgres.running(Path(folder) / "postgres", port=port, settings=databases.FAST))

        start()
        url = f"postgres://postgres@127.0.0.1:{port}/postgres"
        assert databases.alembic("upgrade", "head", DATABASE_URL=url).returncode == 0
        browser, client = signed_in(start_app(url).http, sendgrid)
        cookie = browser.cookies[REFRESH_COOKIE]
        server.close()
        for ask in requests_of(browser, client):
            assert_unavailable(ask, within=2)

        start()
        assert_still_signed_in(browser, client, cookie)


def test_read_only_database_signs_nobody_out(
    start_app: StartApp, sendgrid: SendGrid, migrated_database_url: str
) -> None:
    writable = start_app(migrated_database_url)
    read_only = start_app(f"{migrated_database_url}&options=-c%20default_transaction_read_only%3Don")
    browser, client = signed_in(writable.http, sendgrid)
    cookie = browser.cookies[REFRESH_COOKIE]

    browser.http = client.http = read_only.http
    for path in ("/auth/me", "/auth/sessions"):
        assert browser.as_signed_in("GET", path).status_code == 200
    assert_unavailable(lambda: browser.ask("POST", "/auth/refresh", {}), within=2, code="database.read_only")
    change = {"display_name": "Eve"}
    assert_unavailable(lambda: client.as_signed_in("PATCH", "/auth/me", change), within=2, code="database.read_only")

    browser.http = client.http = writable.http
    assert_still_signed_in(browser, client, cookie)


def test_silent_network_signs_nobody_out(
    start_app: StartApp, sendgrid: SendGrid, postgres_server: Postgres, migrated_database_url: str
) -> None:
    """Connections aren't refused, so only time limits end the wait."""
    name = migrated_database_url.partition("?")[0].rpartition("/")[2]
    with relay(postgres_server.socket_folder, postgres_server.port) as network:
        app = start_app(
            f"postgres://postgres@127.0.0.1:{network.port}/{name}",
            database_statement_timeout_seconds=2,  # 2 s more in the client
            database_connect_timeout_seconds=2,
        )
        browser, client = signed_in(app.http, sendgrid)
        cookie = browser.cookies[REFRESH_COOKIE]
        network.silent = True
        at_once([partial(assert_unavailable, ask, within=14) for ask in requests_of(browser, client)])

        network.silent = False
        assert_still_signed_in(browser, client, cookie)
