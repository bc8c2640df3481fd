"""What both Python services do alike, whatever their framework: settings, statements, tokens, health, problems."""

import asyncio
import hmac
import json
import os
import time
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import asyncpg

DATABASE_URL = os.environ["DATABASE_URL"]
JWT_SECRET = os.environ["JWT_SECRET"]
TOKEN_ISSUER = os.environ["TOKEN_ISSUER"]
TOKEN_AUDIENCE = os.environ["TOKEN_AUDIENCE"]
STATEMENTS: dict[str, dict[str, Any]] = json.loads(os.environ["STATEMENTS"])
VERSION = "0.1.0"
POOL_SIZE = 15  # as the server has
LEEWAY_SECONDS = 5
FIRST_CURSOR = UUID(int=2**128 - 1)
PROBE_SECONDS = 1


class Problem(Exception):  # noqa: N818 - the name of RFC 9457
    """An answer that is an error."""

    def __init__(self, status: int, code: str, title: str, detail: str = "", challenge: str = "") -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.title = title
        self.detail = detail
        self.challenge = challenge

    def body(self, instance: str, request_id: str) -> dict[str, Any]:
        members = {
            "type": f"urn:audifi:problem:{self.code}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "instance": instance,
            "code": self.code,
            "request_id": request_id,
        }
        return {name: value for name, value in members.items() if value}


def missing_token() -> Problem:
    return Problem(401, "access_token.missing", "Missing access token", "Send `Authorization: Bearer …`.", "Bearer")


def invalid_token() -> Problem:
    detail = "Refresh the session, then try again."
    return Problem(401, "access_token.invalid", "Invalid access token", detail, 'Bearer error="invalid_token"')


def cursor(event_id: UUID) -> str:
    signature = hmac.digest(JWT_SECRET.encode(), event_id.bytes, "sha256")[:16]
    return urlsafe_b64encode(event_id.bytes + signature).rstrip(b"=").decode()


def next_cursor(rows: Sequence[Any], limit: int) -> str | None:
    """Return the cursor of the next page; `rows` has one more than the limit if there is one."""
    return cursor(UUID(str(rows[limit - 1]["id"]))) if len(rows) > limit else None


class Probe:
    """One new connection and SELECT 1, shared by all requests, and used for a second."""

    def __init__(self) -> None:
        self._task: asyncio.Task[bool] | None = None
        self._ended_at = 0.0

    async def is_connected(self) -> bool:
        task = self._task
        if task is None or (task.done() and time.monotonic() - self._ended_at >= PROBE_SECONDS):
            task = self._task = asyncio.create_task(self._connect())
        return await asyncio.shield(task)

    async def _connect(self) -> bool:
        try:
            async with asyncio.timeout(1.5):
                connection = await asyncpg.connect(DATABASE_URL)
                try:
                    await connection.execute("SELECT 1")
                    await connection.close()
                finally:
                    connection.terminate()
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return False
        else:
            return True
        finally:
            self._ended_at = time.monotonic()
