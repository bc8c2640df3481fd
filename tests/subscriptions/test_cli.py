"""The commands `python -m audifi subscriptions`."""

from uuid import uuid4

import pytest
from typer.testing import CliRunner

from audifi.cli import app as console
from tests.subscriptions.test_routes import get
from tests.support.app import EVERY_ROW, App
from tests.support.clients import Client


@pytest.fixture
def account(client: Client) -> Client:
    return client.sign_in()


def subscriptions(app: App, *arguments: str) -> str:
    variables = {"DATABASE_URL": app.database_url, "AUDIFI_OPERATOR": "kim", "FORCE_COLOR": None}
    result = CliRunner().invoke(console, ["subscriptions", *arguments], env=variables)
    return f"{result.stdout}{result.stderr}".strip()


def test_operator_grants_and_ends_a_plan(app: App, account: Client) -> None:
    granted = subscriptions(app, "grant", account.email, "ENTERPRISE", "--days", "30", "--reason", "Paid by transfer")

    grant_id, _, rest = granted.partition(": ")
    assert rest.startswith(f"{account.tokens['user']['id']} has ENTERPRISE until ")
    assert get(account, "subscription")["plan"] == "ENTERPRISE"
    for listed in (subscriptions(app, "list", *EVERY_ROW), subscriptions(app, "list", account.email)):
        assert all(part in listed for part in (grant_id, account.email, "ENTERPRISE", "Paid by transfer", "kim"))
    assert "has no ENTERPRISE by this grant any more" in subscriptions(app, "end-grant", grant_id)
    assert get(account, "subscription")["plan"] == "FREE"
    assert subscriptions(app, "end-grant", grant_id) == f"No grant {grant_id} is running."


def test_grant_for_unknown_account_is_refused(app: App) -> None:
    unknown = str(uuid4())

    answer = subscriptions(app, "grant", unknown, "PRO", "--days", "1", "--reason", "A test")

    assert answer == f"There is no account {unknown}."
