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
        command_timeout_seconds: for each command, kept here: it also ends the wait for a server that has gone silent.
        server_settings: parameters of the session. PgBouncer refuses a start-up packet with any that it doesn't track,
            so behind it they are left out: where they matter, set them inside the transaction.

    Raises:
        OSError, asyncpg.PostgresError, asyncpg.InterfaceError: whatever kept it from connecting, in time or at all.
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
    """A connection for a pool, on which nothing takes for ever. Raises as `connect`."""
    statement_timeout_seconds = settings.database_statement_timeout_seconds
    timeouts = {
        "statement_timeout": statement_timeout_seconds,
        "lock_timeout": settings.database_lock_timeout_seconds,
        "idle_in_transaction_session_timeout": settings.database_idle_in_transaction_timeout_seconds,
    }
    return await connect(
        settings,
        command_timeout_seconds=statement_timeout_seconds + 2,  # the server's own, with its error, comes first
        server_settings={name: milliseconds(seconds) for name, seconds in timeouts.items()}
        | dict(server_settings or {}),
    )


def milliseconds(seconds: float) -> str:
    """A duration as PostgreSQL's settings take it without a unit."""
    return str(round(seconds * 1000))
