"""Open connections to PostgreSQL."""

from collections.abc import Mapping

import asyncpg

from audifi.core.config.settings import DatabaseSettings


async def connect(
    settings: DatabaseSettings,
    *,
    connect_timeout_seconds: float | None = None,
    command_timeout_seconds: float | None = None,
    server_settings: dict[str, str] | None = None,
) -> asyncpg.Connection:
    """Open one connection, outside any pool.

    Args:
        settings: where to.
        connect_timeout_seconds: by default the URL's connect_timeout, else the setting's.
        command_timeout_seconds: for each command, enforced by the client: it also covers a server that stops answering.
        server_settings: parameters of the session. PgBouncer refuses a start-up packet with parameters that it doesn't
            track, so they are omitted behind it; set them inside the transaction where they matter.

    Raises:
        OSError, asyncpg.PostgresError, asyncpg.InterfaceError: the connection failed or timed out.
    """
    url = settings.database_url
    arguments = url.arguments()
    if settings.behind_pgbouncer:
        arguments["statement_cache_size"] = 0
    elif server_settings:
        arguments["server_settings"] = server_settings
    return await asyncpg.connect(
        timeout=connect_timeout_seconds or url.connect_timeout_seconds or settings.database_connect_timeout_seconds,
        command_timeout=command_timeout_seconds,
        **arguments,
    )


async def connect_with_limits(
    settings: DatabaseSettings, *, server_settings: Mapping[str, str] | None = None
) -> asyncpg.Connection:
    """Open a connection for a pool, with time limits for statements and locks. Raises as `connect`."""
    statement_timeout_seconds = settings.database_statement_timeout_seconds
    timeouts = {
        "statement_timeout": statement_timeout_seconds,
        "lock_timeout": settings.database_lock_timeout_seconds,
        "idle_in_transaction_session_timeout": settings.database_idle_in_transaction_timeout_seconds,
    }
    return await connect(
        settings,
        command_timeout_seconds=statement_timeout_seconds
        + 2,  # the server's statement_timeout comes first, with its error
        server_settings={name: milliseconds(seconds) for name, seconds in timeouts.items()}
        | dict(server_settings or {}),
    )


def milliseconds(seconds: float) -> str:
    """Return a duration in milliseconds, the default unit of PostgreSQL's settings."""
    return str(round(seconds * 1000))
