"""One ASGI function on asyncpg: what uvicorn and PostgreSQL leave of a core when nothing else is there.

It checks tokens by hand, and knows three routes by heart. Nobody would want to keep such a server: it is the limit for
this stack, not a peer.
"""

import asyncio
import hmac
import json
import os
import time
from base64 import urlsafe_b64decode
from collections.abc import Awaitable, Callable, MutableMapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import asyncpg
from uuid6 import uuid7

type Message = MutableMapping[str, Any]
type Receive = Callable[[], Awaitable[Message]]
type Send = Callable[[Message], Awaitable[None]]

DATABASE_URL = os.environ["DATABASE_URL"]
SECRET = os.environ["JWT_SECRET"].encode()
ISSUER = os.environ["TOKEN_ISSUER"]
AUDIENCE = os.environ["TOKEN_AUDIENCE"]
VERSION = os.environ["VERSION"]
POOL_SIZE = 15  # as many as ours: 5, 5 more when it is busy, and 5 for reads
LEEWAY_SECONDS = 5

CHECKED_ACCOUNT = """
    SELECT users.id, users.email, users.email_key, users.display_name, users.role, users.created_at,
           sessions.id AS session_id, sessions.auth_time
    FROM users JOIN sessions ON sessions.user_id = users.id
    WHERE sessions.id = $1 AND users.id = $2 AND sessions.revoked_at IS NULL AND sessions.idle_expires_at > $3
      AND users.disabled_at IS NULL AND users.deleted_at IS NULL
"""
CHANGE = """
    UPDATE users SET display_name = $2 WHERE id = $1 AND deleted_at IS NULL AND disabled_at IS NULL RETURNING id
"""
RECORD = """
    INSERT INTO auth_events (id, event, user_id, session_id, detail, ip, user_agent, created_at)
    VALUES ($1, 'user.updated', $2, NULL, 'display_name', $3, $4, $5)
"""


class Refused(Exception):  # noqa: N818 - an answer, not an error
    def __init__(self, body: dict[str, Any], challenge: str) -> None:
        super().__init__()
        self.body = body
        self.challenge = challenge


def missing() -> Refused:
    title = "Sign in"
    detail = "This needs an access token: `Authorization: Bearer …`, and nowhere else."
    return Refused({"code": "access_token.missing", "title": title, "detail": detail}, "Bearer")


def invalid() -> Refused:
    title = "The access token isn't good"
    detail = "Refresh the session, then try again."
    return Refused({"code": "access_token.invalid", "title": title, "detail": detail}, 'Bearer error="invalid_token"')


class State:
    pool: asyncpg.Pool
    probing: asyncio.Task[bool] | None = None
    probed_at = 0.0


async def app(scope: Message, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
        return
    route = ROUTES.get((scope["method"], scope["path"]))
    try:
        status, body = await route(scope, receive) if route else (404, b"{}")
        headers = [(b"content-type", b"application/json")]
    except Refused as refused:
        status, body = 401, problem(scope, refused)
        headers = [
            (b"content-type", b"application/problem+json"),
            (b"www-authenticate", refused.challenge.encode()),
        ]
    headers += [(b"content-length", str(len(body)).encode()), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def lifespan(receive: Receive, send: Send) -> None:
    await receive()
    async with asyncpg.create_pool(
        DATABASE_URL, min_size=0, max_size=POOL_SIZE, server_settings={"timezone": "UTC"}, reset=no_reset
    ) as State.pool:
        await send({"type": "lifespan.startup.complete"})
        await receive()
    await send({"type": "lifespan.shutdown.complete"})


async def no_reset(_: asyncpg.Connection) -> None:
    """asyncpg would ask the server to undo what a session has set: a round trip at each release, and nothing is set."""


async def health(_scope: Message, _receive: Receive) -> tuple[int, bytes]:
    probing = State.probing
    if probing is None or (probing.done() and time.monotonic() - State.probed_at >= 1):
        probing = State.probing = asyncio.create_task(probe())
    connected = await asyncio.shield(probing)
    status, database = ("ok", "connected") if connected else ("degraded", "disconnected")
    told = (
        f'{{"status":"{status}","timestamp":"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}","version":"{VERSION}",'
        f'"dependencies":{{"database":"{database}"}}}}'
    )
    return (200 if connected else 503), told.encode()


async def probe() -> bool:
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
        State.probed_at = time.monotonic()


async def get_me(scope: Message, _receive: Receive) -> tuple[int, bytes]:
    claims = claims_of(scope)
    row = await State.pool.fetchrow(CHECKED_ACCOUNT, UUID(claims["sid"]), UUID(claims["sub"]), datetime.now(UTC))
    if row is None:
        raise invalid()
    return 200, told(row, row["display_name"])


async def patch_me(scope: Message, receive: Receive) -> tuple[int, bytes]:
    claims = claims_of(scope)
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    name = json.loads(body)["display_name"].strip()
    now = datetime.now(UTC)
    user_agent = next((value.decode() for header, value in scope["headers"] if header == b"user-agent"), None)
    async with State.pool.acquire() as connection, connection.transaction():
        row = await connection.fetchrow(CHECKED_ACCOUNT, UUID(claims["sid"]), UUID(claims["sub"]), now)
        if row is None or await connection.fetchval(CHANGE, row["id"], name) is None:
            raise invalid()
        await connection.execute(RECORD, uuid7(), row["id"], scope["client"][0], user_agent, now)
    return 200, told(row, name)


def told(row: asyncpg.Record, name: str | None) -> bytes:
    fields = {
        "id": str(row["id"]),
        "email": row["email"],
        "display_name": name,
        "role": row["role"],
        "created_at": row["created_at"].isoformat().replace("+00:00", "Z"),
    }
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()


def claims_of(scope: Message) -> dict[str, Any]:
    """What a token says, once its signature, type, issuer, audience and times are right."""
    given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
    if given[:7].lower() != b"bearer ":
        raise missing()
    try:
        signed, _, signature = given[7:].rpartition(b".")
        mac = urlsafe_b64decode(signature + b"=")
        if not hmac.compare_digest(hmac.digest(SECRET, signed, "sha256"), mac):
            raise invalid()
        head, payload = (json.loads(urlsafe_b64decode(part + b"==")) for part in signed.split(b"."))
        claims: dict[str, Any] = payload
        right = (head["typ"], head["alg"], claims["iss"], claims["aud"]) == ("at+jwt", "HS256", ISSUER, AUDIENCE)
        if not right or claims["exp"] <= time.time() - LEEWAY_SECONDS:
            raise invalid()
    except (ValueError, KeyError):
        raise invalid() from None
    return claims


def problem(scope: Message, refused: Refused) -> bytes:
    """RFC 9457, as ours has it."""
    body = {
        "type": f"urn:audifi:problem:{refused.body['code']}",
        "title": refused.body["title"],
        "status": 401,
        "detail": refused.body.get("detail"),
        "instance": scope["path"],
        "code": refused.body["code"],
        "request_id": uuid4().hex,
    }
    return json.dumps({name: value for name, value in body.items() if value is not None}).encode()


ROUTES = {
    ("GET", "/api/v1/health"): health,
    ("GET", "/api/v1/auth/me"): get_me,
    ("PATCH", "/api/v1/auth/me"): patch_me,
}
