"""Checks of the database: connection, schema, privileges, clock and job queue."""

import asyncio
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import asyncpg
from alembic.script import ScriptDirectory
from alembic.script.revision import RevisionError

import audifi
from audifi.auth.tokens import LEEWAY
from audifi.core.clock import Clock, format_duration
from audifi.core.config.settings import DatabaseSettings
from audifi.core.db.connection import connect, is_behind_pooler, time_limits
from audifi.core.db.errors import sqlstate
from audifi.core.db.migration_failures import LAST_FAILURE
from audifi.core.invariants import check as check_invariants
from audifi.doctor.results import Result
from audifi.ledger.invariants import INVARIANTS as LEDGER_INVARIANTS
from audifi.models import Base

CONNECT_SECONDS = 5
QUERY_SECONDS = 3
PROOF_SECONDS = 3
MIN_VERSION = 16
SCRIPTS = Path(audifi.__file__).parent.parent / "alembic"
MACHINES = 2  # as in the docstring of `DatabaseSettings`
LATE_SECONDS = 60
CROWDED_SHARE = 0.8
MIGRATE = "{migrate}"
PRIMARY = "Point DATABASE_URL to the primary."
FULL_DISK = (
    "Fly Postgres does that when its disk is 90 % full: `flyctl volumes extend`. See default_transaction_read_only."
)
GRANT = "Migrate, or grant the privileges; the role that migrates owns the tables."
TABLES = sorted([*Base.metadata.tables, "pgqueuer", "pgqueuer_log", "pgqueuer_schedules"])
PRIVILEGES = {"auth_events": ("SELECT", "INSERT", "DELETE")}

WHO_IS_CONNECTED = "SELECT application_name, count(*) FROM pg_stat_activity GROUP BY 1;"

type Check = Callable[[str, CheckContext], Awaitable[Result]]

SERVER = """
    SELECT current_user AS role, current_setting('server_version') AS version,
        current_setting('server_version_num')::int / 10000 AS major,
        pg_is_in_recovery() AS replica, current_setting('transaction_read_only')::bool AS read_only,
        (SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()) AS tls
"""
CONNECTIONS = """
    SELECT count(*) FILTER (WHERE backend_type = 'client backend') AS taken,
        least(
            current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
                - coalesce(current_setting('reserved_connections', true)::int, 0),
            nullif((SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user), -1),
            nullif((SELECT datconnlimit FROM pg_database WHERE datname = current_database()), -1)
        ) AS allowed
    FROM pg_stat_activity
"""
MISSING_PRIVILEGES = """
    SELECT string_agg(name || coalesce(' (' || rights || ')', ''), ', ' ORDER BY name) AS missing
    FROM (
        SELECT name, string_agg(needed, ' ') FILTER (WHERE to_regclass(name) IS NOT NULL) AS rights
        FROM unnest($1::text[], $2::text[]) AS head (name, needed)
        WHERE NOT coalesce(has_table_privilege(to_regclass(name), needed), false)
        GROUP BY name
    ) AS tables
"""
QUEUE = """
    SELECT (SELECT count(*) FROM pgqueuer WHERE status = 'failed') AS given_up,
        (SELECT count(*) FROM pgqueuer WHERE status = 'queued') AS waiting,
        extract(epoch FROM now() - (
            SELECT min(execute_after) FROM pgqueuer WHERE status = 'queued' AND execute_after <= now()
        ))::float AS late_seconds
"""


# https://www.postgresql.org/docs/16/errcodes-appendix.html
CLOSES = (
    "accepts the connection and closes it.",
    "Is it PostgreSQL? A proxy does this when its database is down: {database_log}.",
)
UNREACHABLE = ("can't be reached.", "Is it up? Are host and port in DATABASE_URL correct?")
BY_STATE = (
    ("08003", *CLOSES),  # asyncpg's
    ("28", "refuses the user or the password.", "Correct DATABASE_URL{attach}."),
    ("3D000", "doesn't exist on its server.", "Is the name in DATABASE_URL correct?"),
    ("42501", "doesn't permit this role to do that.", GRANT),
    ("42P01", "has no such table.", MIGRATE),
    ("53300", "has no free connection.", f"Who uses them: `{WHO_IS_CONNECTED}`"),
    ("57P", "is starting or stopping.", "Wait a moment and try again."),
)
BY_TYPE: tuple[tuple[type[Exception], str, str], ...] = (
    (TimeoutError, "doesn't answer in time.", "Is it up, and the network? {database_log}."),
    (socket.gaierror, "has a name that doesn't resolve.", "Is the host in DATABASE_URL correct?"),
    (ssl.SSLError, "has a certificate that isn't trusted.", "See sslmode and sslrootcert in DATABASE_URL."),
    (ConnectionRefusedError, *UNREACHABLE),
    (ConnectionError, *CLOSES),  # its others: reset, broken
    (OSError, *UNREACHABLE),
)


@dataclass(frozen=True, kw_only=True)
class CheckContext:
    """The connection, and what is known about it."""

    connection: asyncpg.Connection
    settings: DatabaseSettings
    clock: Clock
    connect_seconds: float

    async def fetch_row(self, query: str, *values: object) -> Any:
        return await self.connection.fetchrow(query, *values)


async def check_database(settings: DatabaseSettings | None, clock: Clock, checks: Mapping[str, Check]) -> list[Result]:
    """Run each check on one connection."""
    if settings is None:
        return [Result.skipped(check, "a valid DATABASE_URL") for check in checks]
    began = time.monotonic()
    try:
        connection = await connect(
            settings,
            connect_timeout_seconds=CONNECT_SECONDS,
            command_timeout_seconds=QUERY_SECONDS,
            server_settings=time_limits(settings) | {"application_name": "audifi-doctor"},
        )
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        message, action = describe_failure(error)
        first, *others = checks
        failure = Result.error(first, f"{settings.database_url.location} {message}", action)
        return [failure, *(Result.skipped(check, "the database") for check in others)]
    context = CheckContext(
        connection=connection, settings=settings, clock=clock, connect_seconds=time.monotonic() - began
    )
    try:
        return [await run_check(name, check, context) for name, check in checks.items()]
    finally:
        connection.terminate()  # not close(), which waits for a server that may be silent


async def run_check(name: str, check: Check, context: CheckContext) -> Result:
    if context.connection.is_closed():
        return Result.skipped(name, "the database, which closed the connection")
    try:
        return await check(name, context)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        message, action = describe_failure(error)
        return Result.error(name, f"The database {message}", action)
    except Exception as error:  # noqa: BLE001 - the other checks go on
        return Result.error(name, f"The check failed: {type(error).__name__}.", "Report this as a bug.")


def describe_failure(error: Exception) -> tuple[str, str]:
    """Return what a database does and what to do about it, without the error's words, which could quote values."""
    if "rejected SSL upgrade" in str(error):
        return "doesn't speak TLS.", "On a private network, add sslmode=disable to DATABASE_URL."
    for state, message, action in BY_STATE:
        if sqlstate(error).startswith(state):
            return message, action
    for kind, message, action in BY_TYPE:
        if isinstance(error, kind):
            return message, action
    return f"answers {' '.join(filter(None, [type(error).__name__, sqlstate(error)]))}.", "See the database's log."


async def server(check: str, context: CheckContext) -> Result:
    row = await context.fetch_row(SERVER)
    version = f"PostgreSQL {row['version'].split()[0]}"
    if row["major"] < MIN_VERSION:
        return Result.error(check, f"The database is {version}.", f"Use PostgreSQL {MIN_VERSION} or newer.")
    if row["read_only"]:
        reason, action = ("is a replica", PRIMARY) if row["replica"] else ("is set to read-only", FULL_DISK)
        message = f"{version} at {context.settings.database_url.location} accepts no writes: it {reason}."
        return Result.error(check, message, action)
    how = "with TLS" if row["tls"] else "without TLS"
    through = " through a pooler" if is_behind_pooler(context.settings) else ""
    where = f"{context.settings.database_url.location}{through} as {row['role']}, {how}"
    return Result.ok(check, f"{version} at {where}; connecting took {context.connect_seconds * 1000:.0f} ms.")


async def connections(check: str, context: CheckContext) -> Result:
    settings = context.settings
    if is_behind_pooler(settings):
        return Result.skipped(check, "a direct connection; a pooler has limits of its own")
    row = await context.fetch_row(CONNECTIONS)
    taken, allowed = row["taken"], row["allowed"]
    pools = settings.database_pool_size, settings.database_read_pool_size, settings.database_background_pool_size + 1
    machine = sum(pools) + 1  # the health probe's
    deploy = 2 * MACHINES * machine + 2  # old and new machines at once, and the release command's
    used = f"{taken} of {allowed} are used"
    message = f"{used}; a machine can open {machine}, a deploy of {MACHINES} machines {deploy}."
    lower = "Lower DATABASE_POOL_SIZE, or raise max_connections."
    if machine > allowed:
        return Result.error(check, f"{used}; one machine can open {machine}.", lower)
    if deploy > allowed or taken > allowed * CROWDED_SHARE:
        return Result.warning(check, message, lower)
    return Result.ok(check, message)


async def migrations(check: str, context: CheckContext) -> Result:
    """Compare the schema's revision with the newest of this version."""
    scripts = ScriptDirectory(str(SCRIPTS))
    head = scripts.get_current_head()
    if (await context.fetch_row("SELECT to_regclass('alembic_version') IS NULL AS none"))["none"]:
        return Result.error(check, "The database has never been migrated.", MIGRATE)
    revisions = [
        row["version_num"] for row in await context.connection.fetch("SELECT version_num FROM alembic_version")
    ]
    if revisions == [head]:
        if (await context.fetch_row(f"{LAST_FAILURE} AS reason"))["reason"]:
            return Result.warning(
                check,
                f"The schema is at {head}, the newest of this version. The migration of a newer version failed.",
                "`python -m audifi migrations last-failure` shows why.",
            )
        return Result.ok(check, f"The schema is at {head}, the newest of this version.")
    current = ", ".join(revisions) or "no revision"
    try:
        missing = [script.revision for script in scripts.iterate_revisions(head, revisions[0] if revisions else "base")]
    except RevisionError:
        return Result.warning(
            check,
            f"The schema is at {current}, which this version, with {head}, doesn't know: was the app rolled back?",
            "It works. Don't migrate with it; deploy the newer version when it is fixed.",
        )
    return Result.error(check, f"The schema is at {current}, {len(missing)} behind {head}.", MIGRATE)


async def tables(check: str, context: CheckContext) -> Result:
    """Check the privileges of the role that the server uses."""
    needed = [
        (name, right) for name in TABLES for right in PRIVILEGES.get(name, ("SELECT", "INSERT", "UPDATE", "DELETE"))
    ]
    row = await context.fetch_row(MISSING_PRIVILEGES, [name for name, _ in needed], [right for _, right in needed])
    if row["missing"]:
        return Result.error(check, f"Missing tables or privileges: {row['missing']}.", GRANT)
    return Result.ok(check, f"All {len(TABLES)} tables exist, and the role may read and write them.")


async def clocks(check: str, context: CheckContext) -> Result:
    before = context.clock()
    at: datetime = (await context.fetch_row("SELECT clock_timestamp() AS at"))["at"]
    took = context.clock() - before
    apart = abs((before + took / 2 - at).total_seconds())
    message = f"The clocks of this machine and the database are {apart:.1f} s apart"
    if apart - took.total_seconds() / 2 > LEEWAY.total_seconds():
        return Result.error(
            check,
            f"{message}; tokens allow for {LEEWAY.total_seconds():.0f} s.",
            "Restart the machine whose clock is wrong.",
        )
    return Result.ok(check, f"{message}.")


async def queue(check: str, context: CheckContext) -> Result:
    row = await context.fetch_row(QUEUE)
    given_up, waiting, late = row["given_up"], row["waiting"], row["late_seconds"] or 0
    if late > LATE_SECONDS:
        return Result.error(
            check,
            f"A job has been due for {format_duration(late)}; {waiting} jobs wait and no server runs them.",
            "See {log} for `job worker restarts until it works`.",
        )
    if given_up:
        return Result.warning(
            check,
            f"{given_up} jobs have failed for good.",
            "`python -m audifi jobs list` shows them, `jobs retry` queues one again.",
        )
    return Result.ok(check, f"{waiting} jobs wait, none for long, and none has failed.")


async def ledger(check: str, context: CheckContext) -> Result:
    """Check the ledger's invariants, if they can be checked quickly; all of them are each night."""
    try:
        async with asyncio.timeout(PROOF_SECONDS):
            violations = await check_invariants(context.connection, LEDGER_INVARIANTS)
    except TimeoutError:
        message = f"Proving the ledger takes more than {PROOF_SECONDS} s."
        return Result.warning(check, message, "`python -m audifi ledger check` takes its time.")
    if violations:
        names = ", ".join(violation.invariant.name for violation in violations)
        action = "`python -m audifi ledger check` shows the rows; see docs/runbook.md: InvariantViolated."
        return Result.error(check, f"Violated: {names}.", action)
    return Result.ok(check, f"All {len(LEDGER_INVARIANTS)} invariants hold: entries, balances and holds agree.")


CHECKS: dict[str, Check] = {
    "database": server,
    "connections": connections,
    "migrations": migrations,
    "tables": tables,
    "clock": clocks,
    "queue": queue,
    "ledger": ledger,
}
