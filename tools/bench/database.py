"""The one PostgreSQL 16 that all contenders ask, and who has an account there."""

import asyncio
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import UUID

import asyncpg
import psutil

from audifi.auth.tokens import Keys
from audifi.core.config.settings import Settings
from dev import postgres
from dev.postgres import Postgres
from tests.support import databases
from tests.support.api import free_port
from tools.bench.contenders import SETTINGS

POSTGRES_CORE = 1
PASSWORD = "bench"
TOKENS = 1000
# No waiting for the disk: it would be the same for all, and hide what they do differently.
POSTGRES_SETTINGS = databases.FAST | {"shared_buffers": "512MB", "max_connections": "300", "autovacuum": "off"}

SEED = """
INSERT INTO users (id, email, email_key, display_name, created_at)
SELECT (lpad(to_hex(n), 8, '0') || '-0000-7000-8000-' || substr(md5(n::text), 1, 12))::uuid,
       'user' || n || '@example.com', 'user' || n || '@example.com', 'Ana', now()
FROM generate_series(1, {users}) n;

INSERT INTO sessions
  (id, user_id, refresh_nonce, rotated_at, auth_time, amr, created_at, last_used_at, idle_expires_at,
   absolute_expires_at)
SELECT (lpad(to_hex(n), 8, '0') || '-0000-7000-9000-' || substr(md5(n::text), 1, 12))::uuid,
       (lpad(to_hex(n), 8, '0') || '-0000-7000-8000-' || substr(md5(n::text), 1, 12))::uuid,
       sha256(n::text::bytea), now(), now(), '{{email,otp}}', now(), now(), now() + '7 days', now() + '30 days'
FROM generate_series(1, {users}) n;

VACUUM ANALYZE
"""


@dataclass(frozen=True, kw_only=True)
class Database:
    """A migrated database with users, each signed in once."""

    url: str
    users: int
    signed_in: list[tuple[UUID, UUID]] = field(repr=False)
    """Some users and their sessions, in random order."""

    def write_tokens(self, file: Path, count: int = TOKENS) -> Path:
        """Fresh access tokens, one a line; they are good for 10 minutes."""
        keys = Keys(Settings(database_url=self.url, **SETTINGS))  # type: ignore[arg-type] # texts, as in an environment
        now = datetime.now(UTC)
        until = now + timedelta(days=7)
        tokens = [
            keys.make_access_token(
                user_id=user, session_id=session, auth_time=now, amr=["email", "otp"], now=now, until=until
            )[0]
            for user, session in self.signed_in[:count]
        ]
        file.write_text("\n".join(tokens) + "\n")
        return file


@contextmanager
def running(*, pinned: bool = True) -> Iterator[Postgres]:
    """PostgreSQL, over TCP as on Fly, on the core of the load: what a server costs is then what its own core does."""
    with (
        TemporaryDirectory(prefix="audifi-bench-") as folder,
        postgres.running(Path(folder) / "postgres", port=free_port(), settings=POSTGRES_SETTINGS) as server,
    ):
        if pinned:
            for process in (postmaster := psutil.Process(server.pid), *postmaster.children()):
                process.cpu_affinity([POSTGRES_CORE])
        rules = Path(str(databases.fetch_value(server.url(), "SHOW hba_file")))
        rules.write_text("local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n")
        databases.execute(server.url(), f"ALTER USER postgres PASSWORD '{PASSWORD}'", "SELECT pg_reload_conf()")
        yield server


def tcp_url(port: int, name: str) -> str:
    return f"postgresql://postgres:{PASSWORD}@127.0.0.1:{port}/{name}"


def create(server: Postgres, users: int) -> Database:
    """Migrate as a release does, then insert the users."""
    name = f"users_{users}"
    databases.execute(server.url(), f"CREATE DATABASE {name} TEMPLATE template0")
    done = databases.alembic("upgrade", "head", DATABASE_URL=server.url(name))
    if done.returncode:
        raise postgres.PostgresError(f"the database can't be migrated: {done.stdout}{done.stderr}")
    databases.execute(server.url(name), *SEED.format(users=users).split(";"))
    sample = asyncio.run(_signed_in(server.url(name), users))
    return Database(url=tcp_url(server.port, name), users=users, signed_in=sample)


async def _signed_in(url: str, users: int) -> list[tuple[UUID, UUID]]:
    numbers = random.Random(1).sample(range(1, users + 1), min(TOKENS, users))
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch(
            "SELECT user_id, id FROM sessions WHERE refresh_nonce = ANY("
            " SELECT sha256(n::text::bytea) FROM unnest($1::int[]) n)",
            numbers,
        )
    finally:
        await connection.close()
    pairs = [(UUID(str(row["user_id"])), UUID(str(row["id"]))) for row in rows]
    random.Random(2).shuffle(pairs)
    return pairs
