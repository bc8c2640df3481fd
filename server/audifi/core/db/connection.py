"""The way to PostgreSQL: one function that connects, and the engine whose pool is filled by it."""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

import asyncpg
from sqlalchemy import event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

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


def create_engine(settings: DatabaseSettings) -> AsyncEngine:
    """The API's engine. It connects at first use, so a database that is away doesn't keep the server from starting."""
    engine = _engine(
        settings,
        connector=partial(connect_with_limits, settings),
        pool_size=settings.database_pool_size,
        max_overflow=settings.database_pool_max_overflow,
        pool_timeout=settings.database_pool_timeout_seconds,
        pool_recycle=settings.database_pool_recycle_seconds,
        pool_use_lifo=True,  # connections that a quiet hour doesn't need age out
    )
    event.listen(engine.sync_engine, "checkout", _refuse_closed)
    return engine


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


def _refuse_closed(connection: DBAPIConnection, *_: object) -> None:
    """Has the pool replace a connection that the database ended while it was idle.

    asyncpg is told by the socket, so that it takes no round trip; `pool_pre_ping` takes one before each transaction.
    """
    driver: asyncpg.Connection = connection.driver_connection
    if driver.is_closed():
        raise DisconnectionError


def create_unpooled_engine(settings: DatabaseSettings, server_settings: dict[str, str]) -> AsyncEngine:
    """An engine that connects anew each time and sets no time limit but those in `server_settings`: for migrations."""
    return _engine(settings, connector=partial(connect, settings, server_settings=server_settings), poolclass=NullPool)


def _engine(
    settings: DatabaseSettings, connector: Callable[[], Awaitable[asyncpg.Connection]], **pool: Any
) -> AsyncEngine:
    driver: dict[str, Any] = {"async_creator_fn": connector}
    if settings.behind_pgbouncer:
        # Each transaction may meet another server connection, which doesn't know what was prepared on the last one.
        # With this cache and asyncpg's off, statements are prepared anew, and without a name that could be taken there.
        driver["prepared_statement_cache_size"] = 0
    return create_async_engine("postgresql+asyncpg://", connect_args=driver, hide_parameters=True, **pool)


def milliseconds(seconds: float) -> str:
    """A duration as PostgreSQL's settings take it without a unit."""
    return str(round(seconds * 1000))
