"""Rows and requests of masters, for query plans and fuzzing."""

from typing import Any

from tests.masters import samples
from tests.masters.requests import archive, change, confirm, create, read, register, review, submit
from tests.masters.sending import begin, unique, upload
from tests.subscriptions.fixtures import grant
from tests.support.clients import Client
from tests.support.feature import FeatureFixtures

ROWS = """
INSERT INTO masters (id, artist_id, type, title, description, genre, release_date, mood_tags, status, version,
        created_at)
    SELECT gen_random_uuid(), id, 'album', 'Master ' || n, 'A', 'B', '2026-01-31', '{}', 'draft', 1,
        now() - random() * interval '1 year'
    FROM (SELECT id FROM users LIMIT 5000) AS artists, generate_series(1, 3) AS n;
INSERT INTO master_tracks (master_id, position, title, isrc, offered)
    SELECT id, 1, 'Track', 'USRC2' || lpad(row_number() OVER ()::text, 7, '0'), true FROM masters;
INSERT INTO master_collaborators (master_id, position, name, role, split_bps)
    SELECT id, 1, 'Bo', 'Producer', 100 FROM masters;
INSERT INTO rights_confirmations (master_id, id, user_id, statement_version, statement_sha256, holder, created_at)
    SELECT id, gen_random_uuid(), artist_id, 'A', sha256(''), 'owner', created_at FROM masters;
INSERT INTO master_events (master_id, id, event, created_at)
    SELECT id, gen_random_uuid(), 'submitted', created_at FROM masters;
-- A few are under way.
INSERT INTO master_uploads (id, master_id, artist_id, kind, status, failure, size, sha256, content_type, expires_at,
        created_at)
    SELECT gen_random_uuid(), id, artist_id, 'audio', state, CASE state WHEN 'failed' THEN 'upload.unreadable' END, 1,
        sha256(id::text::bytea), 'audio/wav', created_at, created_at
    FROM (
        SELECT id, artist_id, created_at, (ARRAY['verified', 'replaced', 'failed', 'pending', 'verifying'])[n] AS state
        FROM masters, generate_series(1, 5) AS n WHERE n < 4 OR random() < 0.05
    ) AS each;
"""
BACKGROUND = (
    "SELECT master_uploads.id, master_uploads.master_id, master_uploads.kind",  # the job that verifies a file
    "SELECT master_uploads.id, master_uploads.sha256",  # retention
    "DELETE FROM master_uploads",
)


def use(client: Client) -> None:
    """Call each operation once, as an admin who registers masters."""
    grant(client)
    master_id = register(client, tracks=[{"title": "A", "isrc": "USRC17607839", "iswc": None}])
    register(client)
    change(client, master_id, title="Another", collaborators=[])
    change(client, master_id, tracks=[{"title": "A", "isrc": "USRC17607838", "iswc": None}])
    for content, content_type in (
        (samples.flac(), "audio/flac"),
        (samples.png(), "image/png"),
        (samples.jpeg(), "image/jpeg"),
    ):
        assert upload(client, master_id, unique(content), content_type) == "verified"
    assert upload(client, master_id, unique(b""), "audio/wav") == "upload.unreadable"
    begin(client, master_id, samples.wav(), "audio/wav")
    for kind in ("audio", "cover"):
        client.as_signed_in("GET", f"/masters/{master_id}/{kind}")
    confirm(client, master_id)
    assert submit(client, master_id).is_success
    assert review(client, master_id).is_success
    assert archive(client, master_id).is_success
    read(client, master_id)
    for sort in ("created_at", "-created_at"):
        first = client.as_signed_in("GET", f"/masters?limit=1&sort={sort}").json()
        client.as_signed_in("GET", f"/masters?limit=1&sort={sort}&cursor={first['next_cursor']}")
    client.as_signed_in("GET", "/masters?status=draft")


def ids(client: Client) -> dict[str, Any]:
    """Return path parameters that exist, by their names in the contract."""
    create(client)  # refused where the plan allows no more, and then there is one
    master_id = client.as_signed_in("GET", "/masters?limit=1").json()["data"][0]["id"]
    begun = begin(client, master_id, samples.png(), "image/png")
    return {"master_id": master_id} | ({"upload_id": begun.json()["upload_id"]} if begun.is_success else {})


FIXTURES = FeatureFixtures(rows=ROWS, use=use, ids=ids, background=BACKGROUND)
