"""Both kinds of restore: from a dump, and from a base backup and WAL up to a point in time."""

import asyncio
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg

from dev import postgres
from dev.postgres import BINARIES, Postgres

SERVER = Path(__file__).parents[2] / "server"
DATABASE = "audifi"

# Run in the restored database, with DATABASE_URL set. Each must exit with status 0.
CHECKS = [
    ["alembic", "upgrade", "head"],  # the dump may be older than the release
    # Add the ledger's check when there is a ledger: ["python", "-m", "audifi", "ledger", "check"].
]

WRITE_ROWS = """
WITH added AS (
    INSERT INTO users (id, email, email_key, display_name, created_at)
    SELECT gen_random_uuid(), n || '@drill.example', n || '@drill.example', 'Ärtist ' || n, now()
    FROM generate_series($1::int, $2::int) AS n RETURNING id
)
INSERT INTO auth_events (id, event, user_id, detail, ip, created_at)
SELECT gen_random_uuid(), 'user.created', id, E'a "quoted"\\ttab\\nand line', '203.0.113.7', now() FROM added
"""
# An UNLOGGED table isn't in the WAL: after a crash, or a restore from WAL, it is empty.
LIST_TABLES = """
SELECT relname, relpersistence = 'p' AS logged FROM pg_class
WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY relname
"""

type Contents = dict[str, tuple[int, str]]
"""The number and hash of the rows by table, and the last value by sequence."""


class DrillError(Exception):
    """The restored database differs from the original, or a command failed; the message says how."""


def dump_and_restore(folder: Path, rows: int) -> None:
    """Back up with pg_dump, destroy the server, restore into a new one, compare."""
    print("A dump:")
    dump = folder / "backup.dump"
    with server(folder / "before") as before:
        create_database(before)
        migrate(before)
        write_rows(before, 1, rows)
        expected = read_contents(before)
        began = time.monotonic()
        run("pg_dump", "--format=custom", f"--file={dump}", f"--dbname={before.url(DATABASE)}")
        report(f"pg_dump of {total(expected)} rows, {dump.stat().st_size / 1e6:.1f} MB", began)
    destroy(folder / "before")
    with server(folder / "after") as after:
        load(after, dump)
        compare(expected, read_contents(after))
        check(after)


def restore_dump(folder: Path, dump: Path) -> None:
    """Restore an existing dump, and print its tables."""
    with server(folder / "after") as after:
        load(after, dump)
        contents = read_contents(after)
        for table, (count, _) in contents.items():
            print(f"  {table}: {count}")
        if not total(contents):
            raise DrillError(f"{dump} has no rows")
        check(after)


def restore_to_a_point_in_time(folder: Path, rows: int) -> None:
    """Back up with pg_basebackup and WAL, delete rows, restore to the time before, compare."""
    print("A point in time:")
    archive, backup = folder / "archive", folder / "after"
    archive.mkdir()
    # Half of the rows are written after the base backup, so they are only in the WAL.
    settings = {"archive_mode": "on", "archive_command": f"test ! -f {archive}/%f && cp %p {archive}/%f"}
    with server(folder / "before", **settings) as before:
        own(archive, folder / "before")
        create_database(before)
        migrate(before)
        write_rows(before, 1, rows // 2)
        began = time.monotonic()
        run("pg_basebackup", f"--pgdata={backup}", "--checkpoint=fast", f"--dbname={before.url()}")
        report("pg_basebackup", began)
        write_rows(before, rows // 2 + 1, rows)
        expected = read_contents(before, logged_only=True)
        moment = fetch(before, "SELECT clock_timestamp()::text")
        execute(before, "DELETE FROM users")  # the accident
        execute(before, "SELECT pg_switch_wal()")
    destroy(folder / "before")
    (backup / "recovery.signal").touch()
    own(backup, archive)
    recovery = {
        "hot_standby": "off",  # otherwise the server is ready, read-only, before the replay is complete
        "restore_command": f"cp {archive}/%f %p",
        "recovery_target_time": moment,
        "recovery_target_action": "promote",
    }
    began = time.monotonic()
    with server(backup, **recovery) as after:
        report(f"restored to {moment}", began)
        compare(expected, read_contents(after, logged_only=True))
        check(after)


@contextmanager
def server(folder: Path, **settings: str) -> Iterator[Postgres]:
    with postgres.running(folder, settings=settings) as running:
        yield running


def create_database(where: Postgres) -> None:
    execute(where, f"CREATE DATABASE {DATABASE}", database="postgres")


def migrate(where: Postgres) -> None:
    run("alembic", "upgrade", "head", cwd=SERVER, DATABASE_URL=where.url(DATABASE))


def write_rows(where: Postgres, first: int, last: int) -> None:
    execute(where, WRITE_ROWS, first, last)


def load(where: Postgres, dump: Path) -> None:
    create_database(where)
    began = time.monotonic()
    # No owners and privileges: this server doesn't have the roles of the original.
    options = ["--exit-on-error", "--no-owner", "--no-privileges", f"--dbname={where.url(DATABASE)}"]
    run("pg_restore", *options, str(dump))
    report("pg_restore", began)


def check(where: Postgres) -> None:
    for command in CHECKS:
        began = time.monotonic()
        run(*command, cwd=SERVER, DATABASE_URL=where.url(DATABASE))
        report(" ".join(command), began)


def destroy(folder: Path) -> None:
    """Delete the data of a stopped server."""
    shutil.rmtree(folder)


def own(folder: Path, like: Path) -> None:
    """Change the owner of a folder and its contents to PostgreSQL's user, which isn't root."""
    owner = like.stat()
    for path in (folder, *folder.rglob("*")):
        os.chown(path, owner.st_uid, owner.st_gid)


def read_contents(where: Postgres, *, logged_only: bool = False) -> Contents:
    async def read() -> Contents:
        connection = await asyncpg.connect(where.url(DATABASE))
        try:
            contents: Contents = {}
            for table in await connection.fetch(LIST_TABLES):
                if table["logged"] or not logged_only:
                    name = f'"{table["relname"]}"'
                    rows = "string_agg(md5(each::text), '' ORDER BY md5(each::text))"
                    query = f"SELECT count(*), coalesce(md5({rows}), '') FROM {name} AS each"
                    count, content = await connection.fetchrow(query)
                    contents[table["relname"]] = (count, content)
            for sequence in await connection.fetch("SELECT sequencename, last_value FROM pg_sequences ORDER BY 1"):
                contents[sequence["sequencename"]] = (0, str(sequence["last_value"]))
            return contents
        finally:
            await connection.close()

    return asyncio.run(read())


def compare(expected: Contents, restored: Contents) -> None:
    different = [name for name in expected | restored if expected.get(name) != restored.get(name)]
    if different:
        raise DrillError(f"the restored database differs: {', '.join(different)}")
    print(f"  compared: {total(restored)} rows in {len(restored)} tables and sequences are the same")


def total(contents: Contents) -> int:
    return sum(count for count, _ in contents.values())


def execute(where: Postgres, statement: str, *arguments: object, database: str = DATABASE) -> None:
    async def run() -> None:
        connection = await asyncpg.connect(where.url(database))
        try:
            await connection.execute(statement, *arguments)
        finally:
            await connection.close()

    asyncio.run(run())


def fetch(where: Postgres, query: str) -> str:
    async def run() -> str:
        connection = await asyncpg.connect(where.url(DATABASE))
        try:
            return str(await connection.fetchval(query))
        finally:
            await connection.close()

    return asyncio.run(run())


def run(program: str, *arguments: str, cwd: Path | None = None, **variables: str) -> None:
    path = f"{BINARIES}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | variables | {"PATH": path}
    done = subprocess.run(
        [shutil.which(program, path=path) or program, *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise DrillError(f"{program} failed: {(done.stdout + done.stderr).strip()}")


def report(step: str, began: float) -> None:
    print(f"  {step}: {time.monotonic() - began:.1f} s", flush=True)
