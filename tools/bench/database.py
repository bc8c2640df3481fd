"""The PostgreSQL 16 that all contenders use, and the users in it."""

import asyncio
import hmac
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import UUID, uuid4

import asyncpg
import jwt
import psutil

from dev import postgres
from dev.postgres import Postgres
from tests.support import databases
from tests.support.api import free_port
from tools.bench.contenders import SETTINGS, TOKEN_AUDIENCE, TOKEN_ISSUER

NAME = "bench"
PASSWORD = "bench"
POSTGRES_CORE = 1
TOKENS = 1000
TOKEN_LIFETIME_SECONDS = 600
EVENTS_PER_USER = 25
# No waiting for the disk: it would be the same for all, and hide the differences.
POSTGRES_SETTINGS = databases.FAST | {"shared_buffers": "512MB", "max_connections": "300", "autovacuum": "off"}

# The ids are UUIDs of version 7, as the server makes them. Times have no trailing zeros, which languages print in
# different ways.
SEED = """
CREATE FUNCTION pg_temp.id(kind text, n bigint) RETURNS uuid LANGUAGE sql AS
  $$ SELECT (lpad(to_hex(n), 8, '0') || '-0000-7000-' || kind || '-' || substr(md5(n::text), 1, 12))::uuid $$;

INSERT INTO users (id, email, email_key, display_name, created_at)
SELECT pg_temp.id('8000', n), 'user' || n || '@example.com', 'user' || n || '@example.com', 'Ana',
       '2026-01-31T12:00:00.123456Z'
FROM generate_series(1, {users}) n;

INSERT INTO sessions
  (id, user_id, refresh_nonce, rotated_at, auth_time, amr, created_at, last_used_at, idle_expires_at,
   absolute_expires_at)
SELECT pg_temp.id('9000', n), pg_temp.id('8000', n), sha256(n::text::bytea), now(), now(), '{{email,otp}}',
       now(), now(), now() + '7 days', now() + '30 days'
FROM generate_series(1, {users}) n;

INSERT INTO auth_events (id, event, user_id, session_id, detail, ip, user_agent, created_at)
SELECT pg_temp.id('a000', {events} * n + e), 'session.created', pg_temp.id('8000', n),
       pg_temp.id('9000', n), 'email: ' || e, '203.0.113.7', 'Mozilla/5.0 (X11; Linux x86_64) Firefox/145.0',
       '2026-01-31T12:00:00.123456Z'
FROM generate_series(1, {users}) n, generate_series(1, {events}) e;
"""


@dataclass(frozen=True, kw_only=True)
class Database:
    """A migrated database with users, each signed in once."""

    url: str
    local_url: str
    """By the Unix socket."""
    postgres_url: str
    """Of another database of the same server."""
    sessions: list[tuple[UUID, UUID]] = field(repr=False)
    """The id of a user and of the user's session, in random order."""

    def tokens(self) -> list[str]:
        """Return a new access token of each user."""
        return [access_token(user_id, session_id) for user_id, session_id in self.sessions]


def access_token(user_id: UUID, session_id: UUID) -> str:
    """Return an access token as the server signs it."""
    now = int(datetime.now(UTC).timestamp())
    secret = SETTINGS["jwt_secret"]
    label = b"audifi/v1/kid"
    key_id = hmac.digest(secret.encode(), len(label).to_bytes(4) + label, "sha256").hex()[:16]
    claims = {
        "iss": TOKEN_ISSUER,
        "aud": TOKEN_AUDIENCE,
        "sub": str(user_id),
        "sid": str(session_id),
        "jti": uuid4().hex,
        "iat": now,
        "exp": now + TOKEN_LIFETIME_SECONDS,
        "auth_time": now,
        "amr": ["email", "otp"],
    }
    return jwt.encode(claims, secret, algorithm="HS256", headers={"typ": "at+jwt", "kid": key_id})


@contextmanager
def running(*, pinned: bool = True, settings: Mapping[str, str] = POSTGRES_SETTINGS) -> Iterator[Postgres]:
    """Run PostgreSQL until the block ends: over TCP as on Fly, on the core of wrk, so that a server has its own."""
    with (
        TemporaryDirectory(prefix="audifi-bench-") as folder,
        postgres.running(Path(folder) / "postgres", port=free_port(), settings=settings) as server,
    ):
        if pinned:
            for process in (postmaster := psutil.Process(server.pid), *postmaster.children()):
                process.cpu_affinity([POSTGRES_CORE])
        rules = Path(str(databases.fetch_value(server.url(), "SHOW hba_file")))
        rules.write_text("local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n")
        databases.execute(server.url(), f"ALTER USER postgres PASSWORD '{PASSWORD}'", "SELECT pg_reload_conf()")
        yield server


def tcp_url(port: int) -> str:
    return f"postgresql://postgres:{PASSWORD}@127.0.0.1:{port}/{NAME}"


def create(server: Postgres, users: int = TOKENS) -> Database:
    """Migrate as a release does, then insert the users.

    Raises:
        PostgresError: the migration failed.
    """
    local_url = server.url(NAME)
    databases.execute(server.url(), f"CREATE DATABASE {NAME} TEMPLATE template0")
    done = databases.alembic("upgrade", "head", DATABASE_URL=local_url)
    if done.returncode:
        raise postgres.PostgresError(f"the migration failed: {done.stdout}{done.stderr}")
    databases.execute(local_url, SEED.format(users=users, events=EVENTS_PER_USER), "VACUUM ANALYZE")
    return Database(
        url=tcp_url(server.port),
        local_url=local_url,
        postgres_url=server.url(),
        sessions=asyncio.run(read_sessions(local_url)),
    )


async def read_sessions(url: str) -> list[tuple[UUID, UUID]]:
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch("SELECT user_id, id FROM sessions ORDER BY id")
    finally:
        await connection.close()
    pairs = [(UUID(str(row["user_id"])), UUID(str(row["id"]))) for row in rows]
    random.Random(1).shuffle(pairs)
    return pairs
