"""One ASGI function on asyncpg: the limit of what uvicorn and PostgreSQL leave of a core.

It carries nothing of what a service in production needs, checks tokens by hand and knows its routes by heart.
"""

import hmac
import json
import time
from base64 import urlsafe_b64decode
from collections.abc import Awaitable, Callable, MutableMapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs
from uuid import UUID, uuid4

import asyncpg
from uuid6 import uuid7

from tools.bench.peers import common
from tools.bench.peers.common import STATEMENTS, Probe, Problem

type Message = MutableMapping[str, Any]
type Receive = Callable[[], Awaitable[Message]]
type Send = Callable[[Message], Awaitable[None]]
type Answer = tuple[int, dict[str, Any]]

SECRET = common.JWT_SECRET.encode()
EXPECTED = ("at+jwt", "HS256", common.TOKEN_ISSUER, common.TOKEN_AUDIENCE)


class State:
    pool: asyncpg.Pool
    probe = Probe()


async def app(scope: Message, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
        return
    route = ROUTES.get((scope["method"], scope["path"]))
    headers = [(b"content-type", b"application/json")]
    try:
        status, members = await route(scope, receive) if route else (404, {})
    except Problem as problem:
        status, members = problem.status, problem.body(scope["path"], uuid4().hex)
        headers = [
            (b"content-type", b"application/problem+json"),
            (b"www-authenticate", problem.challenge.encode()),
        ]
    body = json.dumps(members, ensure_ascii=False, separators=(",", ":")).encode()
    headers += [(b"content-length", str(len(body)).encode()), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def lifespan(receive: Receive, send: Send) -> None:
    await receive()
    async with asyncpg.create_pool(
        common.DATABASE_URL,
        min_size=0,
        max_size=common.POOL_SIZE,
        server_settings={"timezone": "UTC"},
        reset=no_reset,
    ) as State.pool:
        await send({"type": "lifespan.startup.complete"})
        await receive()
    await send({"type": "lifespan.shutdown.complete"})


async def no_reset(_: asyncpg.Connection) -> None:
    """Save the round trip that resets a session's settings: none is set."""


def arguments(name: str, **values: object) -> list[Any]:
    """Return a statement's text and its arguments, for asyncpg."""
    statement = STATEMENTS[name]
    return [statement["text"], *(values[parameter] for parameter in statement["parameters"])]


def find_user(claims: dict[str, Any], now: datetime) -> list[Any]:
    return arguments("find_user", session_id=UUID(claims["sid"]), user_id=UUID(claims["sub"]), now=now)


async def get_health(_scope: Message, _receive: Receive) -> Answer:
    connected = await State.probe.is_connected()
    return 200 if connected else 503, {
        "status": "ok" if connected else "degraded",
        "timestamp": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "version": common.VERSION,
        "dependencies": {"database": "connected" if connected else "disconnected"},
    }


async def get_me(scope: Message, _receive: Receive) -> Answer:
    row = await State.pool.fetchrow(*find_user(read_token(scope), datetime.now(UTC)))
    if row is None:
        raise common.invalid_token()
    return 200, user(row, row["display_name"])


async def get_activity(scope: Message, _receive: Receive) -> Answer:
    user_id = UUID(read_token(scope)["sub"])
    limit = int(parse_qs(scope["query_string"]).get(b"limit", [b"20"])[0])
    rows = await State.pool.fetch(
        *arguments("list_events", user_id=user_id, before=common.FIRST_CURSOR, limit=limit + 1)
    )
    return 200, {"data": [event(row) for row in rows[:limit]], "next_cursor": common.next_cursor(rows, limit)}


async def patch_me(scope: Message, receive: Receive) -> Answer:
    claims = read_token(scope)
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
        row = await connection.fetchrow(*find_user(claims, now))
        if row is None:
            raise common.invalid_token()
        if await connection.fetchval(*arguments("rename_user", user_id=row["id"], display_name=name)) is None:
            raise common.invalid_token()
        values = {"user_id": row["id"], "ip": scope["client"][0], "user_agent": user_agent, "now": now}
        await connection.execute(*arguments("insert_event", id=uuid7(), **values))
    return 200, user(row, name)


def user(row: asyncpg.Record, name: str | None) -> dict[str, Any]:
    return {
        "id": str(row["id"]),
        "email": row["email"],
        "display_name": name,
        "role": row["role"],
        "created_at": instant(row["created_at"]),
    }


def event(row: asyncpg.Record) -> dict[str, Any]:
    session_id = row["session_id"]
    return dict(row) | {
        "id": str(row["id"]),
        "created_at": instant(row["created_at"]),
        "session_id": session_id and str(session_id),
    }


def instant(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")


def read_token(scope: Message) -> dict[str, Any]:
    """Return the claims once signature, type, issuer, audience and times are right.

    Raises:
        Problem: 401.
    """
    value = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
    if value[:7].lower() != b"bearer ":
        raise common.missing_token()
    try:
        signed, _, signature = value[7:].rpartition(b".")
        mac = urlsafe_b64decode(signature + b"=")
        if not hmac.compare_digest(hmac.digest(SECRET, signed, "sha256"), mac):
            raise common.invalid_token()
        head, payload = (json.loads(urlsafe_b64decode(part + b"==")) for part in signed.split(b"."))
        claims: dict[str, Any] = payload
        actual = (head["typ"], head["alg"], claims["iss"], claims["aud"])
        if actual != EXPECTED or claims["exp"] <= time.time() - common.LEEWAY_SECONDS:
            raise common.invalid_token()
    except (ValueError, KeyError):
        raise common.invalid_token() from None
    return claims


ROUTES = {
    ("GET", "/api/v1/health"): get_health,
    ("GET", "/api/v1/auth/me"): get_me,
    ("GET", "/api/v1/auth/me/activity"): get_activity,
    ("PATCH", "/api/v1/auth/me"): patch_me,
}
