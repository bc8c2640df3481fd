"""The migrations make the same schema as the models (`make lint-migrations`).

Alembic's `check` compares constraints and indexes by name; this module also compares their definitions.
"""

import asyncio
import io
import os
import sys
import tempfile
from functools import partial
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from audifi.core.config.settings import DatabaseSettings, load
from audifi.core.db.connection import connect
from audifi.models import Base
from dev import postgres
from tools.migrations import ROOT

ADVICE = (
    "migrations: the models say something else; make the migration that is missing, "
    '`make migration name="…"`, or take the change of the models back: '
)
# As PostgreSQL parsed them, so that spelling doesn't matter.
CONSTRAINTS_AND_INDEXES = text("""
    SELECT format('%s: %s %s', conrelid::regclass, conname, pg_get_constraintdef(oid))
    FROM pg_constraint WHERE conrelid::regclass::text = ANY(:tables)
    UNION ALL
    SELECT indexdef FROM pg_indexes WHERE schemaname = current_schema() AND tablename = ANY(:tables)
""")


def main() -> None:
    config = Config(ROOT / "server" / "alembic.ini", stdout=io.StringIO())
    with tempfile.TemporaryDirectory() as folder, postgres.running(Path(folder) / "postgres") as server:
        os.environ["DATABASE_URL"] = server.url()
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            sys.exit(f"migrations: an empty database can't be migrated; mend the one that fails: {error}")
        try:
            command.check(config)
        except CommandError as error:
            sys.exit(f"{ADVICE}{error}")
        differences = asyncio.run(_differences())
        if differences:
            sys.exit("\n  ".join([ADVICE, *differences]))
    print("migrations: an empty database comes to what the models say")


async def _differences() -> list[str]:
    """Return the differences between the migrated database and one that the models make."""
    creator = partial(connect, load(DatabaseSettings))
    engine = create_async_engine(
        "postgresql+asyncpg://", connect_args={"async_creator_fn": creator}, poolclass=NullPool
    )
    async with engine.begin() as connection:
        migrated = await _constraints_and_indexes(connection)
        await connection.execute(text("CREATE SCHEMA of_models"))
        await connection.execute(text("SET LOCAL search_path = of_models"))
        await connection.run_sync(Base.metadata.create_all)
        wanted = {each.replace(" of_models.", " public.") for each in await _constraints_and_indexes(connection)}
    only = {f"only in the models: {each}" for each in wanted - migrated}
    return sorted(only | {f"only in the migrations: {each}" for each in migrated - wanted})


async def _constraints_and_indexes(connection: AsyncConnection) -> set[str]:
    rows = await connection.execute(CONSTRAINTS_AND_INDEXES, {"tables": list(Base.metadata.tables)})
    return set(rows.scalars())


if __name__ == "__main__":
    main()
