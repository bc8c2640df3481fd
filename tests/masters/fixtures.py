"""Rows and requests of masters, for query plans and fuzzing."""

from typing import Any

from tests.masters.requests import change, confirm, create, read, register
from tests.support.clients import Client
from tests.support.feature import FeatureFixtures

ROWS = """
INSERT INTO masters (id, artist_id, type, title, description, genre, release_date, mood_tags, status, version,
        created_at)
    SELECT gen_random_uuid(), id, 'album', 'Master ' || n, 'A', 'B', '2026-01-31', '{}', 'draft', 1,
        now() - random() * interval '1 year'
    FROM users, generate_series(1, 3) AS n;
INSERT INTO master_tracks (master_id, position, title, isrc, offered)
    SELECT id, 1, 'Track', 'USRC1' || lpad(row_number() OVER ()::text, 7, '0'), true FROM masters;
INSERT INTO master_collaborators (master_id, position, name, role, split_bps)
    SELECT id, 1, 'Bo', 'Producer', 100 FROM masters;
"""


def use(client: Client) -> None:
    """Call each operation once, as a client that has signed in."""
    master_id = register(client)
    register(client)
    change(client, master_id, title="Another", tracks=[], collaborators=[])
    confirm(client, master_id)
    read(client, master_id)
    for sort in ("created_at", "-created_at"):
        first = client.as_signed_in("GET", f"/masters?limit=1&sort={sort}").json()
        client.as_signed_in("GET", f"/masters?limit=1&sort={sort}&cursor={first['next_cursor']}")
    client.as_signed_in("GET", "/masters?status=draft")


def ids(client: Client) -> dict[str, Any]:
    """Return path parameters that exist, by their names in the contract."""
    return {"master_id": create(client).json()["id"]}


FIXTURES = FeatureFixtures(rows=ROWS, use=use, ids=ids)
