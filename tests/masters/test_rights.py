"""Confirmations of rights."""

import hashlib
from typing import Any

import asyncpg
import pytest

from tests.masters.requests import COLLABORATOR, TRACK, change, code, confirm, read, register
from tests.support import databases
from tests.support.app import App
from tests.support.clients import Client


def confirmations(app: App, master_id: str) -> object:
    return databases.fetch_value(
        app.database_url, "SELECT count(*) FROM rights_confirmations WHERE master_id = $1::text::uuid", master_id
    )


def test_confirmation_is_recorded_with_its_statement(artist: Client, app: App) -> None:
    master_id = register(artist)
    statement = artist.ask("GET", "/rights-statement").json()

    confirmed = confirm(artist, master_id, holder="licensee")

    assert confirmed.json()["rights_confirmed_at"] is not None
    row = databases.fetch_value(
        app.database_url,
        "SELECT to_json(c) #>> '{}' FROM rights_confirmations c WHERE master_id = $1::text::uuid",
        master_id,
    )
    text_hash = hashlib.sha256(statement["text"].encode()).hexdigest()
    for part in (artist.tokens["user"]["id"], statement["version"], text_hash, "licensee", ".0/24"):
        assert part in str(row)


def test_repeated_confirmation_is_recorded_once(artist: Client, app: App) -> None:
    master_id = register(artist)

    assert confirm(artist, master_id).json() == confirm(artist, master_id).json()
    assert confirmations(app, master_id) == 1


@pytest.mark.parametrize("version", ["2020-01-01", ""])
def test_outdated_statement_is_refused(artist: Client, version: str) -> None:
    master_id = register(artist)

    assert code(confirm(artist, master_id, statement_version=version)) == "409 rights.statement_outdated"
    assert read(artist, master_id)["rights_confirmed_at"] is None


@pytest.mark.parametrize("accepted", [False, 1, "true", None])
def test_statement_must_be_accepted(artist: Client, accepted: object) -> None:
    assert code(confirm(artist, register(artist), accepted=accepted)) == "422 request.invalid"


@pytest.mark.parametrize(
    ("changes", "confirmations_made"),
    [
        ({"title": "Another"}, 2),
        ({"tracks": [TRACK | {"title": "Another"}]}, 2),
        ({"collaborators": [COLLABORATOR | {"split_bps": 1}]}, 2),
        ({"genre": "Ambient", "bpm": None, "upc": None, "description": "a", "mood_tags": []}, 1),
        ({"tracks": [TRACK]}, 1),
    ],
)
def test_change_of_what_was_confirmed_voids_it(
    artist: Client, app: App, changes: dict[str, Any], confirmations_made: int
) -> None:
    master_id = register(artist)
    confirm(artist, master_id)

    assert (change(artist, master_id, **changes).json()["rights_confirmed_at"] is None) == (confirmations_made == 2)
    confirm(artist, master_id)
    assert confirmations(app, master_id) == confirmations_made


@pytest.mark.parametrize("table", ["rights_confirmations", "master_events"])
@pytest.mark.parametrize("statement", ["UPDATE {} SET created_at = now()", "DELETE FROM {}", "TRUNCATE {}"])
def test_records_are_append_only(artist: Client, app: App, table: str, statement: str) -> None:
    master_id = register(artist)
    confirm(artist, master_id)
    databases.execute(
        app.database_url,
        "INSERT INTO master_events (master_id, id, event, created_at)"
        f" VALUES ('{master_id}', gen_random_uuid(), 'restored', now())",
    )

    with pytest.raises(asyncpg.RestrictViolationError, match=f"{table} is append-only"):
        databases.execute(app.database_url, statement.format(table))
