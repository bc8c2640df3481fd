"""Open connections to PostgreSQL, directly or through a pooler such as PgBouncer, which is recognised.

See docs/decisions/0004-pgbouncer.md.
"""

import logging
from collections.abc import Mapping
from functools import partial

import asyncpg

from audifi.core.config.settings import DatabaseSettings

logger = logging.getLogger(__name__)

_poolers: set[str] = set()
"""Locations where this process has met a pooler."""


async def connect(
    settings: DatabaseSettings,
    *,
    connect_timeout_seconds: float | None = None,
    command_timeout_seconds: float | None = None,
    server_settings: Mapping[str, str] | None = None,
) -> asyncpg.Connection:
    """Open one connection, outside any pool.

    Args:
        settings: where to.
        connect_timeout_seconds: by default the URL's connect_timeout, else the setting's.
        command_timeout_seconds: for each command, enforced by the client: it also covers a server that stops answering.
        server_settings: parameters of the session. They are omitted behind a pooler; set them inside the transaction
            where they matter.

    Raises:
        OSError, asyncpg.PostgresError, asyncpg.InterfaceError: the connection failed or timed out.
    """
    url = settings.database_url
    timeout = connect_timeout_seconds or url.connect_timeout_seconds or settings.database_connect_timeout_seconds
    open_connection = partial(
        asyncpg.connect, timeout=timeout, command_timeout=command_timeout_seconds, **url.arguments()
    )
    if not is_behind_pooler(settings):
        try:
            connection = await open_connection(server_settings=dict(server_settings or {}))
        except asyncpg.ProtocolViolationError as error:
            if "startup parameter" not in str(error):  # PgBouncer reports all its errors under this SQLSTATE
                raise
        else:
            if await _is_direct(connection, timeout):
                return connection
            connection.terminate()
        _poolers.add(url.location)
        logger.info("database %s is behind a pooler: statements aren't prepared", url.location)
    return await open_connection(statement_cache_size=0)


def is_behind_pooler(settings: DatabaseSettings) -> bool:
    """Return whether a connection has met a pooler there."""
    return settings.database_url.location in _poolers


async def _is_direct(connection: asyncpg.Connection, timeout_seconds: float) -> bool:
    """Return whether the process that executes statements is the one that accepted the connection.

    A pooler gives its clients process ids of its own (for CancelRequest), and any server connection. The result is in
    the command tag, because a simple query is the only one that works through every pooler.
    """
    sql = f"SELECT WHERE pg_backend_pid() = {connection.get_server_pid()}"
    try:
        tag: str = await connection.execute(sql, timeout=timeout_seconds)
    except BaseException:
        connection.terminate()
        raise
    return tag == "SELECT 1"


async def connect_with_limits(
    settings: DatabaseSettings, *, server_settings: Mapping[str, str] | None = None
) -> asyncpg.Connection:
    """Open a connection for a pool, with time limits for statements and locks. Raises as `connect`."""
    return await connect(
        settings,
        command_timeout_seconds=settings.database_statement_timeout_seconds
        + 2,  # the server's statement_timeout comes first, with its error
        server_settings=time_limits(settings) | dict(server_settings or {}),
    )


def time_limits(settings: DatabaseSettings) -> dict[str, str]:
    """Return the parameters of a pool's session that limit statements, locks and idle transactions."""
    seconds = {
        "statement_timeout": settings.database_statement_timeout_seconds,
        "lock_timeout": settings.database_lock_timeout_seconds,
        "idle_in_transaction_session_timeout": settings.database_idle_in_transaction_timeout_seconds,
    }
    return {name: milliseconds(value) for name, value in seconds.items()}


def milliseconds(seconds: float) -> str:
    """Return a duration in milliseconds, the default unit of PostgreSQL's settings."""
    return str(round(seconds * 1000))
