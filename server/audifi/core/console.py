"""Helpers of the operators' commands, and the commands `jobs` and `migrations`."""

import asyncio
import getpass
import os
from collections.abc import Awaitable, Callable
from dataclasses import astuple, dataclass
from datetime import datetime
from typing import Annotated, Any, Never

import asyncpg
import typer
from pgqueuer import Queries
from pgqueuer.domain.types import JobId
from rich.console import Console
from rich.table import Table
from sqlalchemy import BigInteger, Column, DateTime, Integer, MetaData, Text, bindparam, func, select
from sqlalchemy import Table as SqlTable

from audifi.core.config.settings import DatabaseSettings, SettingsError, load
from audifi.core.db.connection import connect
from audifi.core.db.database import Database, Transaction
from audifi.core.db.migration_failures import LAST_FAILURE
from audifi.core.db.statements import Statement
from audifi.core.jobs.queue import DatabaseDriver

MAX_WIDTH = 1000
"""Of a table, in characters."""
SERVER_SETTINGS = {"application_name": "audifi-console", "statement_timeout": "15000"}


def _default_operator() -> str:
    try:
        user = getpass.getuser()
    except OSError:  # the image's user has no name
        user = f"uid {os.getuid()}"
    return os.environ.get("AUDIFI_OPERATOR") or f"{user} at a console"


def _not_blank(value: str) -> str:
    if not value.strip():
        raise typer.BadParameter("must not be empty")
    return value.strip()


Reason = Annotated[str, typer.Option(help="The reason, for the audit log; only operators see it.", callback=_not_blank)]
By = Annotated[
    str,
    typer.Option(
        help="Your name, for the audit log; only operators see it.",
        default_factory=_default_operator,
        show_default="AUDIFI_OPERATOR, else the system user",
        callback=_not_blank,
    ),
]

jobs = typer.Typer(no_args_is_help=True, help="Jobs that wait, run, or have failed.")
migrations = typer.Typer(no_args_is_help=True, help="How the last migration ended.")


def run[Result](work: Callable[[Transaction], Awaitable[Result]]) -> Result:
    """Run it in one transaction on DATABASE_URL; an error is one sentence and exit status 1."""

    async def in_transaction(settings: DatabaseSettings) -> Result:
        async with (
            Database(settings, pool_size=1, read_pool_size=1, server_settings=SERVER_SETTINGS) as database,
            database.transaction() as tx,
        ):
            return await work(tx)

    try:
        settings = load(DatabaseSettings)
    except SettingsError as error:
        fail(str(error))
    try:
        return asyncio.run(in_transaction(settings))
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        fail(
            f"{settings.database_url.location}: {type(error).__name__}. Run `python -m audifi doctor` to find out why."
        )


def run_on_connection[Result](work: Callable[[asyncpg.Connection], Awaitable[Result]]) -> Result:
    """Run it on a connection to DATABASE_URL, outside a transaction; an error is one sentence and exit status 1."""

    async def connected(settings: DatabaseSettings) -> Result:
        connection = await connect(settings, server_settings={"application_name": "audifi-console"})
        try:
            return await work(connection)
        finally:
            await connection.close()

    try:
        settings = load(DatabaseSettings)
    except SettingsError as error:
        fail(str(error))
    try:
        return asyncio.run(connected(settings))
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        fail(f"{settings.database_url.location}: {type(error).__name__}. `python -m audifi doctor` says what is wrong.")


def fail(sentence: str) -> Never:
    typer.echo(sentence, err=True)
    raise typer.Exit(1)


def show(columns: list[str], rows: list[list[Any]]) -> None:
    """Print a table; times in UTC, to the second."""
    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*map(cell, row))
    # Not the terminal's width: it would shorten ids, which operators copy.
    Console(highlight=False, markup=False, width=MAX_WIDTH).print(table if rows else "None.")


def cell(value: object) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    return "" if value is None else str(value)


# pgqueuer's table, as far as commands read it.
QUEUE = SqlTable(
    "pgqueuer",
    MetaData(),
    Column("id", BigInteger, nullable=False),
    Column("entrypoint", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("created", DateTime(timezone=True), nullable=False),
    Column("execute_after", DateTime(timezone=True), nullable=False),
)
JOBS = Statement(select(*QUEUE.c).order_by(QUEUE.c.id).limit(200))
IS_FAILED = Statement(
    select(func.count())
    .select_from(QUEUE)
    .where(QUEUE.c.id == bindparam("job_id"), QUEUE.c.status.cast(Text) == "failed")
)


@dataclass(frozen=True, slots=True)
class JobRow:
    id: int
    entrypoint: str
    status: str
    attempts: int
    created: datetime
    execute_after: datetime


@jobs.command("list")
def list_jobs() -> None:
    """Jobs that wait, run, or have failed."""

    async def work(tx: Transaction) -> list[JobRow]:
        return await tx.fetch_all(JOBS, JobRow)

    rows = run(work)
    show(["id", "job", "status", "attempts", "queued at", "not before"], [list(astuple(row)) for row in rows])


@jobs.command("retry")
def retry_job(job_id: int) -> None:
    """Run a failed job again."""

    async def work(tx: Transaction) -> bool:
        is_failed = bool(await tx.fetch_value(IS_FAILED, job_id=job_id))
        if is_failed:
            await Queries(DatabaseDriver(tx.fetch_sql)).requeue_jobs([JobId(job_id)])
        return is_failed

    if not run(work):
        fail(f"There is no failed job {job_id}.")
    typer.echo(f"Job {job_id} is queued again.")


@migrations.command("last-failure")
def show_last_failure() -> None:
    """Print why the last migration failed; nothing if it succeeded."""

    async def work(connection: asyncpg.Connection) -> str:
        return await connection.fetchval(LAST_FAILURE) or ""

    typer.echo(run_on_connection(work), nl=False)


@migrations.callback()
def _keep_group() -> None:
    """Keep `last-failure` below `migrations` although it is the only command there."""
