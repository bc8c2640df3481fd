"""Requests of an artist, for the tests of masters."""

import asyncio
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import httpx2

from audifi.masters import states
from tests.support import databases
from tests.support.clients import Client

TRACK = {"title": "Midnight Drive", "isrc": "USRC17607839", "iswc": "T0345246801"}
COLLABORATOR = {"user_id": None, "name": "Ana Ruiz", "role": "Producer", "split_bps": 2500}
MASTER: dict[str, Any] = {
    "type": "track",
    "title": "Midnight Drive",
    "description": "Written on a night train.\nMixed at home.",
    "genre": "Synthwave",
    "bpm": 104,
    "release_date": "2026-01-31",
    "mood_tags": ["nocturnal"],
    "upc": "0036000291452",
    "tracks": [TRACK],
    "collaborators": [COLLABORATOR],
}


def code(response: httpx2.Response) -> str:
    """Return status and code of a problem, or the status and body that were not expected."""
    body = response.json() if response.content else {}
    return f"{response.status_code} {body.get('code', body)}"


def pointers(response: httpx2.Response) -> list[str]:
    return [error["pointer"] for error in response.json()["errors"]]


def create(client: Client, key: str | None = None, **changes: Any) -> httpx2.Response:
    headers = {"Idempotency-Key": key or str(uuid4())}
    return client.as_signed_in("POST", "/masters", MASTER | changes, headers=headers)


def register(client: Client, **changes: Any) -> str:
    """Register a master; return its id."""
    created = create(client, **changes)
    assert created.status_code == 201, created.text
    return str(created.json()["id"])


def read(client: Client, master_id: str) -> dict[str, Any]:
    response = client.as_signed_in("GET", f"/masters/{master_id}")
    assert response.status_code == 200, response.text
    return dict(response.json())


def change(client: Client, master_id: str, version: str | None = None, **changes: Any) -> httpx2.Response:
    """Change a master in the version that it has, unless another is named."""
    tag = version or client.as_signed_in("GET", f"/masters/{master_id}").headers.get("ETag", '"1"')
    return client.as_signed_in("PATCH", f"/masters/{master_id}", changes, headers={"If-Match": tag})


def confirm(client: Client, master_id: str, **changes: Any) -> httpx2.Response:
    statement = client.as_signed_in("GET", "/rights-statement").json()
    body = {"statement_version": statement["version"], "accepted": True, "holder": "owner"}
    return client.as_signed_in("POST", f"/masters/{master_id}/confirm-rights", body | changes)


def submit(client: Client, master_id: str) -> httpx2.Response:
    return client.as_signed_in("POST", f"/masters/{master_id}/submit")


def archive(client: Client, master_id: str) -> httpx2.Response:
    return client.as_signed_in("POST", f"/masters/{master_id}/archive")


def review(admin: Client, master_id: str, reason: str | None = None, version: str | None = None) -> httpx2.Response:
    """Approve the master's present version, or the one that is named; with a reason, reject it."""
    body = {"decision": "approved"} if reason is None else {"decision": "rejected", "reason": reason}
    tag = version or admin.as_signed_in("GET", f"/masters/{master_id}").headers.get("ETag", '"1"')
    return admin.as_signed_in("POST", f"/masters/{master_id}/review", body, headers={"If-Match": tag})


def give_files(database_url: str, master_id: str) -> None:
    """Give a master verified files that only the database knows."""
    databases.execute(
        database_url,
        f"""INSERT INTO master_uploads (id, master_id, artist_id, kind, status, size, sha256, content_type, expires_at,
                created_at)
            SELECT gen_random_uuid(), id, artist_id, kind, 'verified', 1, sha256(kind::bytea), 'a/b', now(), now()
            FROM masters, unnest(ARRAY['audio', 'cover']) AS kind WHERE id = '{master_id}'""",
        f"""UPDATE masters SET audio_sha256 = sha256('audio'), cover_sha256 = sha256('cover'), duration_seconds = 212
            WHERE id = '{master_id}'""",
    )


def register_complete(database_url: str, client: Client, **changes: Any) -> str:
    """Register a master that can be submitted; return its id."""
    master_id = register(client, **changes)
    give_files(database_url, master_id)
    assert confirm(client, master_id).status_code == 200
    return master_id


def offer(database_url: str, master_id: str) -> None:
    """Do what the launch of an offering does to its master.

    Raises:
        Problem: the master can't be offered.
    """

    async def run() -> None:
        async with databases.connect_pools(database_url) as database, database.transaction() as tx:
            await states.offer(tx, master_id=UUID(master_id), now=datetime.now(UTC))

    asyncio.run(run())


def suspend(database_url: str, master_id: str) -> None:
    databases.execute(database_url, f"UPDATE masters SET suspended_at = now() WHERE id = '{master_id}'")


def make_admin(database_url: str, client: Client) -> Client:
    databases.execute(database_url, f"UPDATE users SET role = 'admin' WHERE id = '{client.tokens['user']['id']}'")
    return client
