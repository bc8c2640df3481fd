"""`python -m audifi demo`, on a real database and storage."""

import hashlib
import io
import json
import time
import wave
from collections.abc import Mapping

import imagesize
import pytest
from pydantic import SecretStr
from typer.testing import CliRunner, Result

from audifi.cli import app as console
from audifi.demo.media import SIDE, make_audio, make_cover
from audifi.models import Base
from tests.payments.shops import settings_for
from tests.support import databases
from tests.support.api import MINIMAL
from tests.support.app import check_invariants
from tools.stripe_stand_in import server

TABLES = sorted([*Base.metadata.tables, "pgqueuer"])
COUNTS = f"""
    SELECT jsonb_object_agg(name, n)
    FROM ({" UNION ALL ".join(f"SELECT '{name}' AS name, count(*) AS n FROM {name}" for name in TABLES)}) AS counted
"""
LISTINGS = """
    SELECT jsonb_object_agg(status, n) FROM (SELECT status, count(*) AS n FROM listings GROUP BY 1) AS counted
"""
REVENUE = """
    SELECT jsonb_object_agg(source, statuses)
    FROM (SELECT source, jsonb_agg(status ORDER BY id) AS statuses FROM revenue_events GROUP BY 1) AS grouped
"""
CARDS = """
    SELECT jsonb_object_agg(split_part(u.email, '@', 1), d.status || ' ' || d.refunding)
    FROM deposits AS d JOIN users AS u ON u.id = d.user_id WHERE d.provider = 'stripe'
"""
STATES = """
    SELECT jsonb_object_agg(masters.title, jsonb_build_array(masters.status, ipos.status, ipos.sold - ipos.returned))
    FROM masters LEFT JOIN ipos ON ipos.master_id = masters.id
"""


def run(database_url: str, storage: Mapping[str, str], **variables: str) -> Result:
    settings = MINIMAL | dict(storage) | {"DATABASE_URL": database_url} | variables
    return CliRunner().invoke(console, ["demo"], env=settings)


def fetch(database_url: str, query: str) -> dict[str, object]:
    return dict(json.loads(str(databases.fetch_value(database_url, query))))


def test_demo_fills_a_database_once(migrated_database_url: str, storage: Mapping[str, str]) -> None:
    first = run(migrated_database_url, storage)
    assert first.exit_code == 0, first.output
    check_invariants(migrated_database_url)
    counts = fetch(migrated_database_url, COUNTS)

    second = run(migrated_database_url, storage)

    assert second.exit_code == 0, second.output
    assert "Everything was there; nothing is changed." in second.output
    assert fetch(migrated_database_url, COUNTS) == counts
    assert fetch(migrated_database_url, STATES) == {
        "Harbor Lights": ["offered", "completed", 800],
        "Paper Moons": ["offered", "live", 115],
        "Red Earth": ["offered", "live", 0],
        "Second Sun": ["offered", "paused", 80],
        "Rooms Without Doors": ["approved", "canceled", 0],
        "Winter Coats": ["approved", "draft", 0],
        "Copper Wire": ["submitted", None, None],
        "Borrowed Sky": ["rejected", None, None],
        "Untitled Demo 4": ["draft", None, None],
    }
    assert "mira@example.org" in second.output
    assert "Made in" in first.output
    assert counts["pgqueuer"] == 0
    assert fetch(migrated_database_url, LISTINGS) == {"open": 2, "sold": 1, "canceled": 1}
    assert counts["plan_grants"] == 3
    assert fetch(migrated_database_url, REVENUE) == {
        "streaming": ["distributed", "recorded"],
        "license": ["funded"],
    }
    assert (counts["dividend_claims"], counts["royalty_statements"], counts["royalty_lines"]) == (2, 2, 31)

    databases.execute(migrated_database_url, "DELETE FROM deposit_disputes")
    third = run(migrated_database_url, storage)

    assert third.exit_code == 1
    assert "A part of the demo was made only in part: Insufficient balance. Start with an empty" in third.output


def test_demo_has_deposits_by_card_at_a_stand_in(migrated_database_url: str, storage: Mapping[str, str]) -> None:
    with server.running(start=int(time.time())) as stand_in:
        settings = settings_for(stand_in.url)
        variables = {
            name.upper(): value.get_secret_value() if isinstance(value, SecretStr) else value
            for name, value in settings.items()
        }
        results = [run(migrated_database_url, storage, **variables) for _ in range(2)]

    assert [result.exit_code for result in results] == [0, 0], results
    assert "Everything was there; nothing is changed." in results[1].output
    check_invariants(migrated_database_url)
    assert fetch(migrated_database_url, CARDS) == {
        "ben": "succeeded 0",
        "chiara": "succeeded 4000",
        "elif": "disputed 0",
    }


def test_demo_is_refused_in_production(migrated_database_url: str, storage: Mapping[str, str]) -> None:
    production = {"ENVIRONMENT": "production", "SENDGRID_API_KEY": "SG.key"}

    result = run(migrated_database_url, storage, **production)

    assert result.exit_code == 1
    assert result.output.strip() == (
        "The demo is for development: it would mix invented accounts and money with real ones."
    )
    assert databases.fetch_value(migrated_database_url, "SELECT count(*) FROM users") == 0


def test_demo_without_settings_is_refused(storage: Mapping[str, str]) -> None:
    result = run("sqlite:///x", storage)

    assert (result.exit_code, result.output.strip()) == (
        1,
        "DATABASE_URL: must start with postgres:// or postgresql://",
    )


@pytest.mark.parametrize("title", ["Harbor Lights", "Paper Moons"])
def test_audio_and_covers_are_made_from_the_title(title: str) -> None:
    audio, cover = make_audio(title), make_cover(title)

    with wave.open(io.BytesIO(audio)) as reader:
        assert reader.getnframes() == 16_000
    assert imagesize.get(io.BytesIO(cover)) == (SIDE, SIDE)
    assert len(audio) + len(cover) < 30_000
    assert (make_audio(title), make_cover(title)) == (audio, cover)
    assert hashlib.sha256(cover).digest() != hashlib.sha256(make_cover("Another")).digest()
