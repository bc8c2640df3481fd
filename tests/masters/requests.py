"""Requests of an artist, for the tests of masters."""

from typing import Any
from uuid import uuid4

import httpx2

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
    statement = client.as_signed_in("GET", "/masters/rights-statement").json()
    body = {"statement_version": statement["version"], "accepted": True, "holder": "owner"}
    return client.as_signed_in("POST", f"/masters/{master_id}/confirm-rights", body | changes)
