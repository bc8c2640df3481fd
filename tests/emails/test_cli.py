"""The command `python -m audifi emails show`."""

import re
from typing import Any, get_args

import pytest
from typer.testing import CliRunner, Result

from audifi.cli import app as console
from audifi.emails.cli import NEXT_STEPS
from audifi.emails.models import EmailEventName
from tests.emails.test_webhook import post
from tests.support.api import APP_URL, FILES, SECRETS
from tests.support.app import App
from tests.support.clients import Client
from tests.support.fixtures import StartApp
from tests.support.sendgrid import SendGrid
from tests.support.waiting import wait_until

TIME = r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d"


def audifi(database_url: str, *arguments: str, **environment: str) -> Result:
    variables = SECRETS | FILES | {"DATABASE_URL": database_url, "APP_URL": APP_URL, "SENDGRID_API_KEY": "SG.x"}
    return CliRunner().invoke(console, ["emails", *arguments], env=variables | {"FORCE_COLOR": None} | environment)


def shown(app: App, address: str) -> str:
    result = audifi(app.database_url, "show", address)
    assert result.exit_code == 0, result.output
    return result.stdout


def an_event(app: App, client: Client, name: str, **members: Any) -> dict[str, Any]:
    message_id = client.sendgrid.wait_for(client.email, client.mails)["custom_args"]["message_id"]
    return {"event": name, "timestamp": int(app.clock().timestamp()), "message_id": message_id} | members


def test_suppressed_address_shows_what_to_do(app: App, client: Client) -> None:
    client.request_mail()
    post(app, an_event(app, client, "dropped", reason="Bounced Address"))
    line = re.compile(rf"^{TIME} +sign_in +{TIME} +dropped +{TIME} +Bounced Address *$", re.MULTILINE)

    wait_until(lambda: bool(line.search(shown(app, client.email.upper()))))
    assert "Next: SendGrid sent nothing: the address is on one of its lists" in shown(app, client.email)


def test_newest_email_decides_what_to_do(app: App, client: Client) -> None:
    client.request_mail()
    post(app, an_event(app, client, "dropped"))
    app.clock.advance(seconds=1)
    client.request_mail()
    wait_until(lambda: "has reported nothing since" in shown(app, client.email))
    assert len(re.findall(r"^20.* sign_in ", shown(app, client.email), re.MULTILINE)) == 2

    first = an_event(app, client, "deferred")
    post(app, first, an_event(app, client, "delivered", timestamp=first["timestamp"] + 1))
    output = shown(app, client.email)
    assert "Next: The mailbox's server took it." in output
    assert re.findall(r" (deferred|delivered|dropped) ", output) == ["delivered", "deferred", "dropped"]


def test_each_event_has_a_next_step() -> None:
    assert set(NEXT_STEPS) == set(get_args(EmailEventName.__value__))


def test_refused_email_shows_sendgrids_answer(app: App, client: Client, sendgrid: SendGrid) -> None:
    sendgrid.status = 400
    assert client.request().status_code == 202
    wait_until(lambda: "SendGrid answered 400" in shown(app, client.email))

    assert "Next: It waits, or its job has failed" in shown(app, client.email)


def test_address_without_emails_is_said_so(app: App, client: Client) -> None:
    output = shown(app, client.email)

    assert output.startswith("None.\n")
    assert "Next: No e-mail was sent to this address in the last 30 days." in output


def test_emails_of_the_previous_secret_are_shown(
    start_app: StartApp, migrated_database_url: str, sendgrid: SendGrid
) -> None:
    app = start_app(migrated_database_url)
    client = Client(app.http, sendgrid)
    client.request_mail()
    changed = {"JWT_SECRET": "another secret of 32 characters!", "JWT_SECRET_PREVIOUS": SECRETS["JWT_SECRET"]}

    assert " sign_in " in audifi(app.database_url, "show", client.email, **changed).stdout


@pytest.mark.parametrize(
    ("address", "environment", "sentence"),
    [
        ("ana", {}, "ana isn't an e-mail address.\n"),
        ("ana@example.com", {"JWT_SECRET": ""}, "JWT_SECRET: must have at least 32 characters"),
    ],
)
def test_unusable_address_or_setting_is_one_sentence(address: str, environment: dict[str, str], sentence: str) -> None:
    result = audifi("postgres://nobody@127.0.0.1:1/nothing", "show", address, **environment)

    assert result.exit_code == 1
    assert result.stderr.startswith(sentence)
