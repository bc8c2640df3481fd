"""The failure of the last migration, kept as the comment of the table `alembic_version`.

The release machine is destroyed when it ends, and a deploy token may not read its log, so the deploy asks a running
machine: `python -m audifi migrations last-failure`. A comment needs no table, which a migration would have to make.
"""

import os
from contextlib import suppress
from datetime import UTC, datetime

import asyncpg

from audifi import __version__
from audifi.core.config.settings import DatabaseSettings
from audifi.core.db.connection import connect

CLEAR = "COMMENT ON TABLE alembic_version IS NULL"
LAST_FAILURE = "SELECT obj_description(to_regclass('alembic_version'), 'pg_class')"
CONNECT_SECONDS = 5


async def record_failure(settings: DatabaseSettings, reason: str) -> None:
    """Store the first line of the reason, with the time and the version, if the database is available.

    PostgreSQL's further lines (DETAIL) quote values of rows.
    """
    first_line = (reason.splitlines() or [""])[0]
    version = f"{__version__}+{os.environ.get('AUDIFI_COMMIT', '')[:7]}".rstrip("+")
    comment = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {version}: {first_line}"
    with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        connection = await connect(
            settings, connect_timeout_seconds=CONNECT_SECONDS, command_timeout_seconds=CONNECT_SECONDS
        )
        try:
            # COMMENT takes no parameters.
            statement = await connection.fetchval(
                "SELECT format('COMMENT ON TABLE alembic_version IS %L', $1::text)", comment
            )
            await connection.execute(statement)
        finally:
            connection.terminate()
