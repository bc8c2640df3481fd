"""Invariants: what a check finds, and the commands that run it."""

import asyncio

import pytest
from typer.testing import CliRunner

from audifi.app import FEATURES
from audifi.auth.invariants import INVARIANTS
from audifi.cli import app
from audifi.core.config.settings import DatabaseSettings
from audifi.core.invariants import check_nightly
from tests.support import databases

SUSPICIOUS = """
INSERT INTO users (id, email, email_key, created_at, deleted_at)
    VALUES ('00000000-0000-7000-8000-000000000001', 'ana@example.com', 'ana@example.com', now(), now())
"""
ALL = sum(len(feature.invariants) for feature in FEATURES)


def check(monkeypatch: pytest.MonkeyPatch, url: str, *command: str) -> tuple[int, str]:
    monkeypatch.setenv("DATABASE_URL", url)
    result = CliRunner().invoke(app, command)
    return result.exit_code, result.output


def test_check_passes_on_data_that_holds(monkeypatch: pytest.MonkeyPatch, migrated_database_url: str) -> None:
    assert check(monkeypatch, migrated_database_url, "check") == (0, f"{ALL} of {ALL} invariants hold.\n")


def test_check_shows_the_rows_of_a_violation(monkeypatch: pytest.MonkeyPatch, migrated_database_url: str) -> None:
    databases.execute(migrated_database_url, SUSPICIOUS)

    status, output = check(monkeypatch, migrated_database_url, "auth", "check")

    assert status == 1
    assert "violated: deleted_account_is_empty: A deleted account keeps neither its address" in output
    assert "id=00000000-0000-7000-8000-000000000001" in output
    assert "ana@example.com" not in output


def test_check_without_a_database_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    status, output = check(monkeypatch, "postgres://u:s3cr3t@127.0.0.1:1/d", "check")

    assert status == 1
    assert "127.0.0.1:1/d: ConnectionRefusedError" in output
    assert "s3cr3t" not in output


def test_nightly_check_records_each_invariant(caplog: pytest.LogCaptureFixture, migrated_database_url: str) -> None:
    databases.execute(migrated_database_url, SUSPICIOUS)
    settings = DatabaseSettings.model_validate({"database_url": migrated_database_url})
    recorded: dict[str, int] = {}

    asyncio.run(check_nightly(settings, INVARIANTS, recorded.__setitem__))

    assert recorded == {"deleted_account_is_empty": 1, "deleted_account_has_no_session": 0}
    assert "invariant violated: name=deleted_account_is_empty examples=id=" in caplog.text


def test_names_of_invariants_are_unique() -> None:
    names = [invariant.name for feature in FEATURES for invariant in feature.invariants]

    assert len(names) == len(set(names))
