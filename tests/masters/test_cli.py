"""The commands `python -m audifi masters`."""

import re
from uuid import uuid4

import pytest
from typer.testing import CliRunner, Result

from audifi.cli import app as console
from tests.masters.requests import read, register_complete, submit
from tests.support import databases
from tests.support.app import EVERY_ROW, App
from tests.support.clients import Client


def masters(app: App, *arguments: str) -> Result:
    variables = {"DATABASE_URL": app.database_url, "AUDIFI_OPERATOR": "kim", "FORCE_COLOR": None}
    return CliRunner().invoke(console, ["masters", *arguments], env=variables)


def output_of(app: App, *arguments: str) -> str:
    result = masters(app, *arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture
def submitted(app: App, artist: Client) -> str:
    master_id = register_complete(app.database_url, artist)
    submit(artist, master_id)
    return master_id


def test_masters_are_listed_by_status(app: App, artist: Client, submitted: str) -> None:
    listed = output_of(app, "list", *EVERY_ROW, "--status", "submitted")

    assert re.search(rf"{submitted} +submitted +Midnight Drive +{artist.email} +20\d\d-", listed)
    assert submitted not in output_of(app, "list", *EVERY_ROW, "--status", "approved")
    assert submitted in output_of(app, "list", *EVERY_ROW)


def test_review_is_recorded_with_the_operator(app: App, artist: Client, submitted: str) -> None:
    assert output_of(app, "review", submitted, "reject", "--reason", "No cover") == "Midnight Drive is rejected.\n"
    assert read(artist, submitted)["rejection_reason"] == "No cover"
    recorded = (
        "SELECT actor || ': ' || detail FROM master_events WHERE master_id = $1::text::uuid AND event = 'rejected'"
    )
    assert databases.fetch_value(app.database_url, recorded, submitted) == "kim: No cover"


def test_review_approves(app: App, submitted: str) -> None:
    assert output_of(app, "review", submitted, "approve") == "Midnight Drive is approved.\n"
    again = masters(app, "review", submitted, "approve")
    assert (again.exit_code, again.stderr.startswith(f"{submitted}: Not submitted. ")) == (1, True)


@pytest.mark.parametrize("arguments", [["approve", "--reason", "a"], ["reject"], ["reject", "--reason", " "]])
def test_reason_belongs_to_a_rejection(app: App, submitted: str, arguments: list[str]) -> None:
    assert masters(app, "review", submitted, *arguments).exit_code == 2


def test_master_is_suspended_and_restored(app: App, artist: Client, submitted: str) -> None:
    assert output_of(app, "suspend", submitted, "--reason", "Claim 12") == f"{submitted} is suspended.\n"
    assert output_of(app, "suspend", submitted, "--reason", "Again") == f"{submitted} is suspended already.\n"
    assert read(artist, submitted)["suspended_at"] is not None
    assert output_of(app, "restore", submitted) == f"{submitted} is restored.\n"
    assert output_of(app, "restore", submitted) == f"{submitted} isn't suspended.\n"
    restored = read(artist, submitted)
    assert (restored["suspended_at"], restored["status"]) == (None, "submitted")
    recorded = """SELECT string_agg(event || ' ' || actor || coalesce(': ' || detail, ''), ', ' ORDER BY id)
        FROM master_events WHERE master_id = $1::text::uuid AND actor IS NOT NULL"""
    assert databases.fetch_value(app.database_url, recorded, submitted) == "suspended kim: Claim 12, restored kim"


def test_unknown_master_is_reported(app: App) -> None:
    for command in (["review", str(uuid4()), "approve"], ["suspend", str(uuid4()), "--reason", "a"]):
        result = masters(app, *command)
        assert (result.exit_code, ": Not found." in result.stderr) == (1, True)
