"""`python -m audifi payments …`."""

from datetime import timedelta

import pytest
from typer.testing import CliRunner

from audifi.payments.cli import payments
from tests.payments.shops import Shop
from tests.support.clients import Client


@pytest.fixture(autouse=True)
def database(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", shop.app.database_url)


def run(*arguments: str) -> str:
    result = CliRunner().invoke(payments, list(arguments))
    assert result.exit_code == 0, result.output
    return result.output


def test_events_are_listed(shop: Shop, fan: Client) -> None:
    session = shop.session(shop.deposited(fan))
    assert session in run("events", "--limit", "1000")
    assert session not in run("events", "--failed")


def test_object_is_looked_at_again(shop: Shop, fan: Client) -> None:
    session = shop.session(shop.deposited(fan))
    before = shop.value("SELECT synced FROM provider_syncs WHERE provider_id = $1", session)
    assert "will be looked at" in run("sync", "checkout", session)
    shop.settle()
    assert shop.value("SELECT synced FROM provider_syncs WHERE provider_id = $1", session) == before + 1
    assert CliRunner().invoke(payments, ["sync", "chekout", session]).exit_code == 1


def test_replay_looks_at_each_object_once(shop: Shop, fan: Client) -> None:
    session = shop.session(shop.deposited(fan))
    since = (shop.app.clock() - timedelta(seconds=1)).strftime("%Y-%m-%dT%H:%M:%S")
    assert "objects will be looked at" in run("replay", "--since", since, "--type", "checkout.session.completed")
    shop.settle()
    assert shop.value("SELECT requested FROM provider_syncs WHERE provider_id = $1", session) == 2
    assert shop.balance(fan) == 5000
