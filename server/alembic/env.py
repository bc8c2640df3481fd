"""Alembic's environment, for Fly's release command, `make run` and a console alike.

- One migration at a time, by an advisory lock. The lock belongs to a transaction, so that it works behind PgBouncer in
  transaction mode, and is polled: blocking in pg_advisory_lock() would hold a snapshot that CREATE INDEX CONCURRENTLY
  in the other migration waits for.
- All or nothing: one transaction for all revisions.
- Traffic has priority: lock_timeout and statement_timeout are set in each session. Requests queue behind a lock that a
  migration waits for, so it waits a second, lets the requests through, and tries again.
- It waits a bounded time for a database that is waking up. Other connection errors fail at once.
- If the process is killed, PostgreSQL cancels its statement within two seconds.
- The reason of a failure is stored in the database, for the deploy (audifi/core/db/migration_failures.py).

Read-only commands (`current`, `check`, `history` …) take no lock.
"""

import asyncio
import logging
import operator
import ssl
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import asyncpg
from alembic import context
from alembic.runtime.migration import MigrationInfo
from alembic.util import CommandError
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool
from sqlalchemy.util import await_only
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    RetryError,
    retry_if_exception,
    retry_if_result,
    stop_after_delay,
    stop_before_delay,
    wait_exponential_jitter,
    wait_fixed,
    wait_random,
)

from audifi.core.config.settings import MigrationSettings, SettingsError, load
from audifi.core.db.connection import connect, milliseconds
from audifi.core.db.errors import sqlstate
from audifi.core.db.migration_failures import CLEAR, record_failure
from audifi.core.telemetry import logging as logs
from audifi.models import Base

logger = logging.getLogger("audifi.migrations")

LOCK_KEY = 0x617564696669  # "audifi"; advisory locks are per database
LOCK_NOT_AVAILABLE = "55P03"


def migrate_offline() -> None:
    """Print the SQL instead of running it: `alembic upgrade head --sql`. Needs no database and no DATABASE_URL."""
    settings = MigrationSettings.model_construct()
    context.configure(
        dialect_name="postgresql",
        target_metadata=Base.metadata,
        literal_binds=True,
        dialect_opts={"paramstyle": "named"},
    )
    with context.begin_transaction():
        set_timeouts(settings)
        context.run_migrations()


async def migrate(settings: MigrationSettings) -> None:
    lock = await connect_when_awake(settings)  # separate from the connection that migrates
    engine = create_engine(settings)
    try:
        if not is_read_only():
            await take_lock(lock, settings.migration_queue_timeout_seconds)
        await run_until_locks_are_free(engine, settings, lock)
    finally:
        await engine.dispose()
        lock.terminate()  # ends the transaction, which releases the lock


def create_engine(settings: MigrationSettings) -> AsyncEngine:
    """Return Alembic's engine, which opens each connection as the server does."""
    arguments: dict[str, object] = {
        "async_creator_fn": partial(connect, settings, server_settings=session(settings)),
        # Behind a pooler, each transaction may get another server connection, without the prepared statements.
        "prepared_statement_cache_size": 0,
    }
    return create_async_engine(
        "postgresql+asyncpg://", connect_args=arguments, hide_parameters=True, poolclass=NullPool
    )


async def run_until_locks_are_free(engine: AsyncEngine, settings: MigrationSettings, lock: asyncpg.Connection) -> None:
    """Retry the migration while locks aren't available. Each attempt is a transaction of its own."""

    async def attempt() -> None:
        async with engine.connect() as connection:
            await connection.run_sync(run, settings, lock)

    def report(_: RetryCallState) -> None:
        logger.info("another transaction holds a lock; letting requests through, then trying again")

    attempts = AsyncRetrying(
        retry=retry_if_exception(is_lock_timeout),
        stop=stop_before_delay(settings.migration_lock_patience_seconds),
        wait=wait_random(2, 4),
        before_sleep=report,
        reraise=True,
    )
    await attempts(attempt)


def is_lock_timeout(error: BaseException) -> bool:
    return isinstance(error, DBAPIError) and sqlstate(error.orig or error) == LOCK_NOT_AVAILABLE


def is_read_only() -> bool:
    options = context.config.cmd_opts
    return options is not None and options.cmd[0].__name__ not in {"upgrade", "downgrade", "stamp"}


def run(connection: Connection, settings: MigrationSettings, lock: asyncpg.Connection) -> None:
    applied: list[str] = []

    def remember(ctx: object, step: MigrationInfo, heads: object, run_args: object) -> None:  # noqa: ARG001 - passed by name
        if step.up_revision_id:
            script = context.script.get_revision(step.up_revision_id)
            done = "stamped" if step.is_stamp else "applied" if step.is_upgrade else "reverted"
            applied.append(f"{done} {script.revision} {script.doc}")

    context.configure(
        connection=connection, target_metadata=Base.metadata, on_version_apply=remember, include_name=is_ours
    )
    with context.begin_transaction():
        set_timeouts(settings)
        context.run_migrations()
        if not is_read_only():
            context.execute(CLEAR)
        await_only(lock.execute("SELECT"))  # raises if the lock was lost, so that this migration doesn't commit
    if is_read_only():
        return
    revision = ", ".join(context.get_context().get_current_heads()) or "empty"
    for line in applied or ["nothing to apply"]:
        logger.info("%s", line)
    logger.info("the database is at revision %s", revision)


def is_ours(name: str | None, kind: str, _parents: object) -> bool:
    """Exclude pgqueuer's tables from the comparison with the models."""
    return not (kind == "table" and name is not None and name.startswith("pgqueuer"))


def session(settings: MigrationSettings) -> dict[str, str]:
    return {
        "application_name": "audifi-migrate",
        "client_connection_check_interval": "1000",
        "lock_timeout": milliseconds(settings.migration_lock_timeout_seconds),
        "statement_timeout": milliseconds(settings.migration_statement_timeout_seconds),
        "idle_in_transaction_session_timeout": "0",
    }


def set_timeouts(settings: MigrationSettings) -> None:
    """Set the session's parameters by SQL: for printed SQL, and for poolers, behind which `connect` omits them.

    Call it inside begin_transaction(): a statement before would open a transaction that Alembic doesn't commit.
    """
    for name, value in session(settings).items():
        context.execute(f"SET LOCAL {name} = '{value}'")


async def connect_when_awake(settings: MigrationSettings) -> asyncpg.Connection:
    def report(state: RetryCallState) -> None:
        error = state.outcome and state.outcome.exception()
        logger.info("waiting for %s: %s", settings.database_url.location, error and describe(error))

    attempts = AsyncRetrying(
        retry=retry_if_exception(may_be_waking),
        stop=stop_before_delay(settings.migration_wake_timeout_seconds),
        wait=wait_exponential_jitter(initial=0.5, max=5, jitter=0.5),
        before_sleep=report,
        reraise=True,
    )
    return await attempts(connect, settings, server_settings=session(settings))


def may_be_waking(error: BaseException) -> bool:
    """Return whether waiting can help; it can't with a wrong password, an unknown database or a bad certificate."""
    if isinstance(error, ssl.SSLError) or "rejected SSL upgrade" in str(error):
        return False
    return isinstance(
        error,
        OSError | asyncpg.CannotConnectNowError | asyncpg.TooManyConnectionsError | asyncpg.PostgresConnectionError,
    )


async def take_lock(connection: asyncpg.Connection, timeout_seconds: float) -> None:
    async def try_lock() -> bool:
        transaction = connection.transaction()
        await transaction.start()
        locked: bool = await connection.fetchval("SELECT pg_try_advisory_xact_lock($1)", LOCK_KEY)
        if locked:
            # A simple query closes the portal of asyncpg's extended query, and releases its snapshot.
            await connection.execute("SELECT")
        else:
            await transaction.rollback()
        return locked

    def report(state: RetryCallState) -> None:
        if state.attempt_number % 10 == 1:
            logger.info("another migration is running; waiting for it to end")

    attempts = AsyncRetrying(
        retry=retry_if_result(operator.not_),
        stop=stop_after_delay(timeout_seconds),
        wait=wait_fixed(0.5),
        before_sleep=report,
    )
    try:
        await attempts(try_lock)
    except RetryError:
        raise CommandError(f"another migration was still running after {timeout_seconds:.0f} s") from None


def describe(error: BaseException) -> str:
    cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
    return f"{type(cause).__name__}: {cause}".removesuffix(": ")


@contextmanager
def clear_errors(location: str) -> Iterator[None]:
    """Turn errors that an operator can fix into one sentence and exit status 255, without a traceback."""
    try:
        yield
    except OSError as error:
        raise CommandError(f"can't reach {location}: {describe(error)}") from error
    except (DBAPIError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise CommandError(f"{location}: {describe(error)}") from error


class Steps(logging.Handler):
    """Remembers Alembic's last log line about a step: `Running upgrade 0001 -> 0002, Title: `."""

    last = ""

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if message.startswith("Running "):
            self.last = f"{message}: "


def migrate_online() -> None:
    try:
        settings = load(MigrationSettings)
    except SettingsError as error:
        raise CommandError(str(error)) from None
    with clear_errors(settings.database_url.location):
        steps = Steps()
        logging.getLogger("alembic.runtime.migration").addHandler(steps)
        try:
            asyncio.run(migrate(settings))
        except KeyboardInterrupt:
            raise CommandError("interrupted; the transaction was rolled back") from None
        except Exception as error:
            if not is_read_only():
                asyncio.run(record_failure(settings, f"{steps.last}{describe(error)}"))
            raise


if context.config.cmd_opts is not None:  # started by the command line, not by a program with logging of its own
    logs.configure(sys.stderr)  # standard output is for results: SQL, revisions
    logging.getLogger("alembic.util.messaging").disabled = True  # repeats what Alembic prints

if context.is_offline_mode():
    migrate_offline()
else:
    migrate_online()
