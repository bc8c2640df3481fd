"""What commands share, and those on the queue."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, Never

import asyncpg
import typer
from pgqueuer import Queries
from pgqueuer.domain.types import JobId
from rich.console import Console
from rich.table import Table
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from audifi.core.config.settings import DatabaseSettings, SettingsError, load
from audifi.core.db.connection import connect, create_unpooled_engine
from audifi.core.jobs.queue import PostgresDriver

jobs = typer.Typer(no_args_is_help=True, help="What waits to be done, and what was given up.")


def run[Result](work: Callable[[AsyncConnection], Awaitable[Result]]) -> Result:
    """Do it in one transaction on DATABASE_URL; what goes wrong is one sentence and exit status 1."""

    async def in_transaction(settings: DatabaseSettings) -> Result:
        engine = create_unpooled_engine(settings, {"application_name": "audifi-console", "statement_timeout": "15000"})
        try:
            async with engine.begin() as connection:
                return await work(connection)
        finally:
            await engine.dispose()

    try:
        settings = load(DatabaseSettings)
    except SettingsError as error:
        fail(str(error))
    try:
        return asyncio.run(in_transaction(settings))
    except (OSError, DBAPIError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        name = type((cause and cause.__cause__) or cause).__name__  # SQLAlchemy's copy is of the driver's
        fail(f"{settings.database_url.location}: {name}. `python -m audifi doctor` says what is wrong.")


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
    """A table for a person; times in UTC, to the second."""
    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*map(cell, row))
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:  # a file or a pipe has no width to fit into
        console = Console(highlight=False, markup=False, width=250)
    console.print(table if rows else "None.")


def cell(value: object) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    return "" if value is None else str(value)


@jobs.command("list")
def list_jobs() -> None:
    """Jobs that wait, run, or were given up (`failed`)."""
    query = "SELECT id, entrypoint, status, attempts, created, execute_after FROM pgqueuer ORDER BY id LIMIT 200"

    async def work(connection: AsyncConnection) -> list[list[Any]]:
        return [list(row) for row in await connection.execute(text(query))]

    show(["id", "job", "status", "attempts", "queued at", "not before"], run(work))


@jobs.command("retry")
def retry_job(job_id: int) -> None:
    """Have a job that was given up tried again."""

    async def work(connection: AsyncConnection) -> bool:
        given_up = text("SELECT count(*) FROM pgqueuer WHERE id = :id AND status = 'failed'")
        found = (await connection.execute(given_up, {"id": job_id})).scalar_one()
        if found:
            await Queries(PostgresDriver.within(connection)).requeue_jobs([JobId(job_id)])
        return bool(found)

    if not run(work):
        fail(f"There is no job {job_id} that was given up.")
    typer.echo(f"Job {job_id} is queued again.")
