"""The database: the way there, the schema, whose clock is right, what waits in the queue."""

import socket
import ssl
import time
from collections.abc import Awaitable, Callable
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
from audifi.core.db.connection import connect
from audifi.core.db.errors import sqlstate
from audifi.doctor.results import Finding, odd, skipped, well, wrong
from audifi.models import Base

CONNECT_SECONDS = 5
ASK_SECONDS = 3
NEEDS_VERSION = 16
SCRIPTS = Path(audifi.__file__).parent.parent / "alembic"
MACHINES = 2  # as `DatabaseSettings` reckons
LATE_SECONDS = 60
CROWDED_SHARE = 0.8
MIGRATE = "Migrate: `alembic upgrade head`, as the release command does."
GRANT = "Migrate, or grant it; the role that migrates owns them."
TABLES = sorted([*Base.metadata.tables, "pgqueuer", "pgqueuer_log", "pgqueuer_schedules"])
RIGHTS_TO = {"auth_events": ("SELECT", "INSERT", "DELETE")}

WHO_IS_CONNECTED = "SELECT application_name, count(*) FROM pg_stat_activity GROUP BY 1;"

type Check = Callable[[str, Patient], Awaitable[Finding]]

SERVER = """
    SELECT current_user AS role, current_setting('server_version') AS version,
        current_setting('server_version_num')::int / 10000 AS major,
        pg_is_in_recovery() OR current_setting('transaction_read_only')::bool AS read_only,
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
MISSING_RIGHTS = """
    SELECT string_agg(name || coalesce(' (' || rights || ')', ''), ', ' ORDER BY name) AS missing
    FROM (
        SELECT name, string_agg(needed, ' ') FILTER (WHERE to_regclass(name) IS NOT NULL) AS rights
        FROM unnest($1::text[], $2::text[]) AS wanted (name, needed)
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
    "takes the connection, and closes it.",
    "Is it PostgreSQL? A proxy does so without a database behind it: `flyctl status --app audifi-db`.",
)
AWAY = ("can't be reached.", "Is it up? Are host and port in DATABASE_URL right?")
BY_STATE = (
    ("08003", *CLOSES),  # asyncpg's
    ("28", "refuses the user or the password.", "Set DATABASE_URL anew, or `flyctl postgres attach`."),
    ("3D000", "isn't there; its server is.", "Is the name in DATABASE_URL right?"),
    ("42501", "doesn't allow it to this role.", GRANT),
    ("42P01", "has no such table.", MIGRATE),
    ("53300", "has no free connection.", f"Who has them: `{WHO_IS_CONNECTED}`"),
    ("57P", "is starting, or stopping.", "Wait a moment, and try again."),
)
BY_TYPE: tuple[tuple[type[Exception], str, str], ...] = (
    (TimeoutError, "doesn't answer in time.", "Is it up, and the network? `flyctl status --app audifi-db`."),
    (socket.gaierror, "has a name that doesn't resolve.", "Is the host in DATABASE_URL right?"),
    (ssl.SSLError, "has a certificate that isn't trusted.", "See sslmode and sslrootcert in DATABASE_URL."),
    (ConnectionRefusedError, *AWAY),
    (ConnectionError, *CLOSES),  # its others: reset, broken
    (OSError, *AWAY),
)


@dataclass(frozen=True, kw_only=True)
class Patient:
    """Who is asked, and what is known of it before."""

    connection: asyncpg.Connection
    settings: DatabaseSettings
    clock: Clock
    connect_seconds: float

    async def row(self, query: str, *values: object) -> Any:
        return await self.connection.fetchrow(query, *values)


async def look_into(settings: DatabaseSettings | None, clock: Clock) -> list[Finding]:
    """Each check that can be made, on one connection."""
    if settings is None:
        return [skipped(check, "a good DATABASE_URL") for check in CHECKS]
    began = time.monotonic()
    try:
        connection = await connect(
            settings,
            connect_timeout_seconds=CONNECT_SECONDS,
            command_timeout_seconds=ASK_SECONDS,
            server_settings={"application_name": "audifi-doctor"},
        )
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        says, do = why(error)
        first, *others = CHECKS
        away = wrong(first, f"{settings.database_url.location} {says}", do)
        return [away, *(skipped(check, "the database") for check in others)]
    patient = Patient(connection=connection, settings=settings, clock=clock, connect_seconds=time.monotonic() - began)
    try:
        return [await asked(name, check, patient) for name, check in CHECKS.items()]
    finally:
        connection.terminate()  # without a word: a server that has gone silent hears none


async def asked(name: str, check: Check, patient: Patient) -> Finding:
    if patient.connection.is_closed():
        return skipped(name, "the database, which has ended the connection")
    try:
        return await check(name, patient)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        says, do = why(error)
        return wrong(name, f"Asked about it, the database {says}", do)
    except Exception as error:  # noqa: BLE001 - the other checks are made all the same
        return wrong(name, f"The check itself fails: {type(error).__name__}.", "Mend it.")


def why(error: Exception) -> tuple[str, str]:
    """What a database does that fails so, and what to do. Not in the error's words, which could quote values."""
    if "rejected SSL upgrade" in str(error):
        return "doesn't speak TLS.", "On a private network, add sslmode=disable to DATABASE_URL."
    for state, says, do in BY_STATE:
        if sqlstate(error).startswith(state):
            return says, do
    for kind, says, do in BY_TYPE:
        if isinstance(error, kind):
            return says, do
    return f"answers {' '.join(filter(None, [type(error).__name__, sqlstate(error)]))}.", "See its log."


async def server(check: str, patient: Patient) -> Finding:
    row = await patient.row(SERVER)
    version = f"PostgreSQL {row['version'].split()[0]}"
    if row["major"] < NEEDS_VERSION:
        return wrong(check, f"It is {version}.", f"This needs {NEEDS_VERSION} or newer.")
    if row["read_only"]:
        return wrong(
            check,
            f"{version} at {patient.settings.database_url.location} takes no writes: a replica, or set read-only.",
            "Have DATABASE_URL lead to the primary (target_session_attrs=read-write finds it).",
        )
    how = "with TLS" if row["tls"] else "without TLS"
    through = " through PgBouncer" if patient.settings.behind_pgbouncer else ""
    where = f"{patient.settings.database_url.location}{through} as {row['role']}, {how}"
    return well(check, f"{version} at {where}; connecting took {patient.connect_seconds * 1000:.0f} ms.")


async def connections(check: str, patient: Patient) -> Finding:
    settings = patient.settings
    if settings.behind_pgbouncer:
        return skipped(check, "a database without PgBouncer before it, whose pool counts")
    row = await patient.row(CONNECTIONS)
    taken, allowed = row["taken"], row["allowed"]
    pools = settings.database_pool_size, settings.database_pool_max_overflow, settings.database_read_pool_size
    machine = sum(pools) + 1  # the health probe's
    deploy = 2 * MACHINES * machine + 2  # old and new machines at once, and the release command's
    says = f"{taken} of {allowed} are taken"
    lower = "Lower DATABASE_POOL_SIZE, or raise max_connections."
    if machine > allowed:
        return wrong(check, f"{says}; one machine may want {machine}.", lower)
    if deploy > allowed or taken > allowed * CROWDED_SHARE:
        return odd(check, f"{says}; a machine may want {machine}, a deploy of {MACHINES} machines {deploy}.", lower)
    return well(check, f"{says}; a machine may want {machine}, a deploy of {MACHINES} machines {deploy}.")


async def migrations(check: str, patient: Patient) -> Finding:
    """Where the schema is, and where this code wants it."""
    scripts = ScriptDirectory(str(SCRIPTS))
    wanted = scripts.get_current_head()
    if (await patient.row("SELECT to_regclass('alembic_version') IS NULL AS none"))["none"]:
        return wrong(check, "Nothing was ever migrated here.", MIGRATE)
    revisions = [
        row["version_num"] for row in await patient.connection.fetch("SELECT version_num FROM alembic_version")
    ]
    if revisions == [wanted]:
        return well(check, f"The schema is at {wanted}, as this version wants it.")
    told = ", ".join(revisions) or "nothing"
    try:
        missing = [
            script.revision for script in scripts.iterate_revisions(wanted, revisions[0] if revisions else "base")
        ]
    except RevisionError:
        return odd(
            check,
            f"The schema is at {told}, which this version, of {wanted}, doesn't know: an older one after a roll-back?",
            "It works so. Don't migrate with it; deploy the newer one when it is mended.",
        )
    return wrong(check, f"The schema is at {told}, {len(missing)} behind {wanted}.", MIGRATE)


async def tables(check: str, patient: Patient) -> Finding:
    """Whether its role may do what the server does."""
    needed = [
        (name, right) for name in TABLES for right in RIGHTS_TO.get(name, ("SELECT", "INSERT", "UPDATE", "DELETE"))
    ]
    row = await patient.row(MISSING_RIGHTS, [name for name, _ in needed], [right for _, right in needed])
    if row["missing"]:
        return wrong(check, f"Not there, or not allowed to this role: {row['missing']}.", GRANT)
    return well(check, f"All {len(TABLES)} are there, and the role may read and write them.")


async def clocks(check: str, patient: Patient) -> Finding:
    before = patient.clock()
    at: datetime = (await patient.row("SELECT clock_timestamp() AS at"))["at"]
    took = patient.clock() - before
    apart = abs((before + took / 2 - at).total_seconds())
    says = f"This machine's and the database's are {apart:.1f} s apart"
    if apart - took.total_seconds() / 2 > LEEWAY.total_seconds():
        return wrong(
            check,
            f"{says}; tokens allow for {LEEWAY.total_seconds():.0f} s.",
            "Restart the machine whose clock is wrong.",
        )
    return well(check, f"{says}.")


async def queue(check: str, patient: Patient) -> Finding:
    row = await patient.row(QUEUE)
    given_up, waiting, late = row["given_up"], row["waiting"], row["late_seconds"] or 0
    if late > LATE_SECONDS:
        return wrong(
            check,
            f"A job has been due for {format_duration(late)}, and {waiting} wait: no server does them.",
            "See `flyctl logs` for `jobs wait`.",
        )
    if given_up:
        return odd(
            check,
            f"{given_up} jobs were given up.",
            "`python -m audifi jobs list` shows them, `jobs retry` tries one again.",
        )
    return well(check, f"{waiting} jobs wait, none of them for long, and none was given up.")


CHECKS: dict[str, Check] = {
    "database": server,
    "connections": connections,
    "migrations": migrations,
    "tables": tables,
    "clock": clocks,
    "queue": queue,
}
