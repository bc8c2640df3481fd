"""The server's secrets: rotated, leaked, missing, too short."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from pydantic import SecretStr

from audifi.core.config.settings import Settings, SettingsError, load
from tests.support import app as apps
from tests.support import databases
from tests.support.api import APP_URL, FILES, ROOT, SECRETS, environment
from tests.support.app import App
from tests.support.clients import Browser, Client, Mail, newest_mail
from tests.support.sendgrid import SendGrid
from tests.support.waiting import wait_until

NEW = {name.lower(): SecretStr(f"another {value}") for name, value in SECRETS.items()}
PREVIOUS = {f"{name.lower()}_previous": SecretStr(value) for name, value in SECRETS.items()}


class Before:
    """Clients from before the rotation: two sessions, an open link, an open code, and a queued e-mail."""

    def __init__(self, app: App, sendgrid: SendGrid) -> None:
        self.client = Client(app.http, sendgrid).sign_in()
        self.browser = Browser(app.http, sendgrid)
        self.browser.sign_in()
        self.by_link, self.by_code, self.by_waiting_mail = (Client(app.http, sendgrid) for _ in range(3))
        self.mails: list[Mail] = [self.by_link.request_mail(), self.by_code.request_mail()]
        sendgrid.status, so_far = 500, sendgrid.requests
        assert self.by_waiting_mail.request().status_code == 202
        wait_until(lambda: sendgrid.requests > so_far)
        self.everyone = (self.client, self.browser, self.by_link, self.by_code, self.by_waiting_mail)

    def use_links(self, sendgrid: SendGrid) -> list[int]:
        """Return the statuses of using the link, the code and the queued e-mail."""
        link, code = self.mails
        late = newest_mail(sendgrid, self.by_waiting_mail.email)
        return [
            self.by_link.verify(token=link.token, **self.by_link.secret()).status_code,
            self.by_code.verify(
                flow_id=self.by_code.flow["flow_id"], code=code.code, **self.by_code.secret()
            ).status_code,
            self.by_waiting_mail.verify(token=late.token, **self.by_waiting_mail.secret()).status_code,
        ]


@pytest.fixture
def before(migrated_database_url: str, sendgrid: SendGrid) -> Before:
    with apps.running(migrated_database_url, sendgrid_url=sendgrid.url) as app:
        return Before(app, sendgrid)


@contextmanager
def after(url: str, sendgrid: SendGrid, before: Before, **secrets: Any) -> Iterator[App]:
    """Start a server with other secrets, for the same clients."""
    databases.execute(url, "UPDATE pgqueuer SET execute_after = now() - interval '1 second'")
    sendgrid.status = 202
    with apps.running(url, sendgrid_url=sendgrid.url, **secrets) as app:
        for client in before.everyone:
            client.http = app.http
        yield app


def test_rotated_secrets_keep_sessions_and_emails(
    before: Before, migrated_database_url: str, sendgrid: SendGrid
) -> None:
    client, browser = before.client, before.browser
    with after(migrated_database_url, sendgrid, before, **NEW, **PREVIOUS):
        assert client.as_signed_in("GET", "/auth/me").status_code == 200
        assert client.as_signed_in("GET", "/auth/sessions").status_code == 200
        old = client.tokens["refresh_token"]
        assert client.refresh().status_code == browser.refresh().status_code == 200
        assert before.use_links(sendgrid) == [200, 200, 200]
        # New tokens are made with the new secrets, and reuse of old ones is detected.
        assert client.refresh(old).json()["refresh_token"] == client.tokens["refresh_token"]
        assert client.refresh().status_code == 200
        assert client.ask("POST", "/auth/refresh", {"refresh_token": old}).json()["code"] == "refresh_token.reused"
    with after(migrated_database_url, sendgrid, before, **NEW):
        assert browser.refresh().status_code == 200
        assert browser.as_signed_in("GET", "/auth/me").status_code == 200


def test_machines_accept_each_others_secrets_during_rotation(migrated_database_url: str, sendgrid: SendGrid) -> None:
    """First all machines accept the new secrets, then one after the other signs with them (docs/runbook.md)."""
    learning: dict[str, Any] = {f"{name}_previous": secret for name, secret in NEW.items()}
    making: dict[str, Any] = NEW | PREVIOUS
    with (
        apps.running(migrated_database_url, sendgrid_url=sendgrid.url, **learning) as before,
        apps.running(migrated_database_url, sendgrid_url=sendgrid.url, **making) as after,
    ):
        for here, there in ((before, after), (after, before)):
            client, browser = Client(here.http, sendgrid), Browser(here.http, sendgrid)
            for person in (client, browser):
                mail = person.request_mail()  # either machine may have sent it
                person.http = there.http
                assert person.verify(token=mail.token, **person.secret()).status_code == 200
                person.http = here.http
                assert person.as_signed_in("GET", "/auth/me").status_code == 200
                assert person.refresh().status_code == 200
                person.http = there.http
                assert person.as_signed_in("GET", "/auth/me").status_code == 200
                assert person.refresh().status_code == 200
            by_code = Client(here.http, sendgrid)
            code = by_code.request_mail().code
            by_code.http = there.http
            answer = by_code.verify(flow_id=by_code.flow["flow_id"], code=code, **by_code.secret())
            assert answer.status_code == 200
        given_up = "SELECT count(*) FROM pgqueuer WHERE status = 'failed'"
        assert databases.fetch_value(migrated_database_url, given_up) == 0


def test_previous_secrets_are_not_needed_after_rotation(migrated_database_url: str, sendgrid: SendGrid) -> None:
    both: dict[str, Any] = NEW | PREVIOUS
    with apps.running(migrated_database_url, sendgrid_url=sendgrid.url, **both) as app:
        before = Before(app, sendgrid)
    with after(migrated_database_url, sendgrid, before, **NEW):
        assert before.client.as_signed_in("GET", "/auth/me").status_code == 200
        assert before.client.refresh().status_code == before.browser.refresh().status_code == 200
        assert before.use_links(sendgrid) == [200, 200, 200]


def test_tokens_of_leaked_secrets_are_refused(before: Before, migrated_database_url: str, sendgrid: SendGrid) -> None:
    client, browser = before.client, before.browser
    with after(migrated_database_url, sendgrid, before, **NEW):
        for path in ("/auth/me", "/auth/sessions"):
            answer = client.as_signed_in("GET", path)
            assert (answer.status_code, answer.json()["code"]) == (401, "access_token.invalid")
        for answer in (client.refresh(), browser.refresh()):
            assert (answer.status_code, answer.json()["code"]) == (401, "refresh_token.invalid")
        assert browser.cookies == {}
        link, code = before.mails
        by_link = before.by_link.verify(token=link.token, confirm=True, **before.by_link.secret())
        flow = {"flow_id": before.by_code.flow["flow_id"], **before.by_code.secret()}
        by_code = before.by_code.verify(code=code.code, **flow)
        assert (by_link.status_code, by_link.json()["code"]) == (401, "magic_link.invalid")
        assert (by_code.status_code, by_code.json()["code"]) == (401, "code.invalid")
        assert Client(client.http, sendgrid).sign_in().refresh().status_code == 200
        given_up = "SELECT count(*) FROM pgqueuer WHERE status = 'failed'"
        wait_until(lambda: databases.fetch_value(migrated_database_url, given_up) == 1)
        assert sendgrid.mails_to(before.by_waiting_mail.email) == [], "an invalid link isn't sent"


@pytest.mark.parametrize("kept", ["jwt_secret", "magic_link_secret"])
def test_each_secret_can_be_rotated_alone(
    before: Before, migrated_database_url: str, sendgrid: SendGrid, kept: str
) -> None:
    with after(migrated_database_url, sendgrid, before, **{name: new for name, new in NEW.items() if name != kept}):
        keeps_sessions = kept == "jwt_secret"
        assert before.client.refresh().status_code == (200 if keeps_sessions else 401)
        link = before.by_link.verify(token=before.mails[0].token, **before.by_link.secret())
        assert link.status_code == (401 if keeps_sessions else 200)


GOOD = {"DATABASE_URL": "postgres://postgres@127.0.0.1:1/x", "APP_URL": APP_URL, "SENDGRID_API_KEY": "SG.x"}
GOOD |= SECRETS | FILES
SHORT = "only-31-characters-of-a-secret!"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("JWT_SECRET", None),
        ("JWT_SECRET", ""),
        ("JWT_SECRET", SHORT),
        ("MAGIC_LINK_SECRET", None),
        ("MAGIC_LINK_SECRET", ""),
        ("MAGIC_LINK_SECRET", SHORT),
        ("JWT_SECRET_PREVIOUS", SHORT),
        ("MAGIC_LINK_SECRET_PREVIOUS", SHORT),
        ("FILES_ENDPOINT", None),
        ("FILES_BUCKET", None),
        ("FILES_KEY_ID", ""),
        ("FILES_SECRET", None),
        ("FILES_SECRET", ""),
        ("SENDGRID_API_KEY", None),
        ("SENDGRID_API_KEY", ""),
        ("APP_URL", None),
        ("APP_URL", "http://app.audifi.test"),
        ("APP_URL", "https://someone:their-password@app.audifi.test"),
        ("APP_URL", "javascript:alert(1)"),
    ],
)
def test_unsafe_setting_is_named_without_its_value(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str | None
) -> None:
    for other, good in GOOD.items():
        monkeypatch.setenv(other, good)
    assert load(Settings).environment == "production", "the default"
    if value is None:
        monkeypatch.delenv(name)
    else:
        monkeypatch.setenv(name, value)

    with pytest.raises(SettingsError) as raised:
        load(Settings)
    [line] = str(raised.value).splitlines()
    assert line.startswith(f"{name}: ")
    assert not value or value not in line
    assert not any(good in line for good in (*SECRETS.values(), "SG.x"))


@pytest.mark.slow
def test_server_names_missing_secrets_and_exits() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "audifi.serve"],
        cwd=ROOT / "server",
        env=environment(DATABASE_URL=GOOD["DATABASE_URL"], JWT_SECRET=SHORT, MAGIC_LINK_SECRET_PREVIOUS=SHORT[::-1]),
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )

    assert done.returncode == 1
    output = done.stdout + done.stderr
    named = {line.partition(":")[0] for line in output.splitlines() if ": " in line}
    missing = {"MAGIC_LINK_SECRET", "SENDGRID_API_KEY", "APP_URL", *FILES}
    assert named == {"JWT_SECRET", "MAGIC_LINK_SECRET_PREVIOUS"} | missing
    assert SHORT not in output
    assert SHORT[::-1] not in output
    assert "Traceback" not in output
