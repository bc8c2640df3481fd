"""A client that uploads files, as a browser does."""

import base64
import hashlib
from typing import Any
from uuid import uuid4

import httpx2

from tests.support import patient
from tests.support.clients import Client
from tests.support.waiting import wait_until


def storage_request(method: str, url: str, **options: Any) -> httpx2.Response:
    """Send a request to the storage."""
    return patient.request(method, url, trust_env=False, **options)


def begin(client: Client, master_id: str, content: bytes, content_type: str, /, **changes: Any) -> httpx2.Response:
    body = {
        "kind": content_type.partition("/")[0].replace("image", "cover"),
        "size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "content_type": content_type,
    }
    return client.as_signed_in("POST", f"/masters/{master_id}/upload", body | changes)


def send(upload: dict[str, Any], content: bytes, **headers: str) -> httpx2.Response:
    return storage_request("PUT", upload["url"], content=content, headers=upload["headers"] | headers)


def complete(client: Client, master_id: str, upload_id: str) -> httpx2.Response:
    return client.as_signed_in("POST", f"/masters/{master_id}/upload/{upload_id}/complete")


def state(client: Client, master_id: str, upload_id: str) -> dict[str, Any]:
    response = client.as_signed_in("GET", f"/masters/{master_id}/upload/{upload_id}")
    assert response.status_code == 200, response.text
    return dict(response.json())


def result(client: Client, master_id: str, upload_id: str) -> str:
    """Complete an upload; return its final status, or why it failed."""
    completed = complete(client, master_id, upload_id)
    assert completed.status_code == 202, completed.text
    wait_until(lambda: state(client, master_id, upload_id)["status"] != "verifying")
    upload = state(client, master_id, upload_id)
    return str(upload["failure"] or upload["status"])


def upload(client: Client, master_id: str, content: bytes, content_type: str, **changes: Any) -> str:
    """Upload a file; return its final status, or why it failed."""
    begun = begin(client, master_id, content, content_type, **changes)
    assert begun.status_code == 201, begun.text
    sent = send(begun.json(), content)
    assert sent.status_code == 200, sent.text
    return result(client, master_id, begun.json()["upload_id"])


def unique(content: bytes) -> bytes:
    """Return the content with a tail that no other test has, so that tests don't share a stored file."""
    return content + uuid4().bytes


def checksum(content: bytes) -> str:
    return base64.b64encode(hashlib.sha256(content).digest()).decode()
