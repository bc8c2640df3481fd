"""`alembic upgrade head`, as Fly's release command runs it, on a real database."""

import asyncio
import re
import shutil
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import asyncpg
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from pgqueuer import Queries
from typer.testing import CliRunner

from audifi.cli import app as commands
from audifi.models import Base
from dev import postgres
from dev.postgres import Postgres
from tests.support import api as apis
from tests.support import databases
from tests.support.api import ROOT
from tests.support.databases import alembic
from tests.support.relay import relay
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

TABLES = "SELECT string_agg(tablename, ' ' ORDER BY tablename) FROM pg_tables WHERE schemaname = 'public'"
REVISION = "SELECT version_num FROM alembic_version"
HEAD = str(ScriptDirectory.from_config(Config(ROOT / "server" / "alembic.ini")).get_current_head())
PGQUEUER = ("pgqueuer", "pgqueuer_log", "pgqueuer_schedules", "pgqueuer_statistics")
OURS = " ".join(sorted({"alembic_version", *PGQUEUER, *Base.metadata.tables}))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of server/ to which a test can add revisions."""
    copy = tmp_path / "server"
    copy.mkdir()
    shutil.copy(ROOT / "server" / "alembic.ini", copy)
    shutil.copytree(ROOT / "server" / "alembic", copy / "alembic", ignore=shutil.ignore_patterns("__pycache__"))
    return copy


def add_revision(folder: Path, revision: str, down_revision: str, upgrade: str, downgrade: str = "pass") -> None:
    (folder / "alembic" / "versions" / f"{revision}_test.py").write_text(
        f'"""Revision {revision}."""\n'
        "from alembic import op\n"
        f"revision, down_revision, branch_labels, depends_on = {revision!r}, {down_revision!r}, None, None\n"
        f"def upgrade():\n    {upgrade}\n"
        f"def downgrade():\n    {downgrade}\n"
    )


WAIT_UNTIL_IT_MAY_GO_ON = (
    "op.execute('DO $$ BEGIN WHILE NOT EXISTS (SELECT FROM pg_namespace WHERE nspname = $n$go_on$n$)"
    " LOOP PERFORM pg_sleep(0.1); END LOOP; END $$')"
)


def start(folder: Path, log: Path, url: str) -> subprocess.Popen[bytes]:
    """Start `alembic upgrade head`; its output goes into the log."""
    with log.open("wb") as file:
        return subprocess.Popen(
            ["alembic", "upgrade", "head"],
            cwd=folder,
            env=apis.environment(DATABASE_URL=url),
            stdout=file,
            stderr=subprocess.STDOUT,
        )


def test_there_is_one_head() -> None:
    assert re.fullmatch(r"\w+ \(head\)\n", alembic("heads", DATABASE_URL="postgres://u@127.0.0.1:1/d").stdout)


def test_second_upgrade_does_nothing(empty_database_url: str) -> None:
    first = alembic("upgrade", "head", DATABASE_URL=empty_database_url)
    second = alembic("upgrade", "head", DATABASE_URL=empty_database_url)

    assert (first.returncode, second.returncode) == (0, 0)
    assert "applied 0001 Accounts" in first.stderr
    assert "applied" not in second.stderr
    assert "nothing to apply" in second.stderr
    assert databases.fetch_value(empty_database_url, TABLES) == OURS


def test_models_match_the_migrations(database_url: str) -> None:
    check = alembic("check", DATABASE_URL=database_url)

    assert "No new upgrade operations detected" in check.stdout, check.stdout + check.stderr


def test_schema_drift_is_reported(migrated_database_url: str) -> None:
    databases.execute(migrated_database_url, "ALTER TABLE users ADD COLUMN shoe_size int")

    assert alembic("check", DATABASE_URL=migrated_database_url).returncode != 0


def test_downgrade_and_upgrade_restore_the_schema(migrated_database_url: str) -> None:
    down = alembic("downgrade", "base", DATABASE_URL=migrated_database_url)

    assert "reverted 0001" in down.stderr
    assert databases.fetch_value(migrated_database_url, TABLES) == "alembic_version"
    assert alembic("upgrade", "head", DATABASE_URL=migrated_database_url).returncode == 0


def test_failed_migration_is_rolled_back(folder: Path, migrated_database_url: str) -> None:
    add_revision(folder, "9001", HEAD, "op.execute('CREATE TABLE half ()')")
    add_revision(folder, "9002", "9001", "op.execute('CREATE TABLE whole ()'); op.execute('SELECT 1/0')")

    failed = alembic("upgrade", "head", folder=folder, DATABASE_URL=migrated_database_url)

    assert failed.returncode != 0
    assert "Running upgrade 9001 -> 9002" in failed.stderr  # the failed revision
    assert re.search(r"^FAILED: .*division by zero$", failed.stdout, re.MULTILINE)
    assert "Traceback" not in failed.stdout + failed.stderr
    assert "applied" not in failed.stderr
    assert databases.fetch_value(migrated_database_url, REVISION) == HEAD
    assert databases.fetch_value(migrated_database_url, TABLES) == OURS


def test_failure_is_kept_until_a_migration_succeeds(folder: Path, migrated_database_url: str) -> None:
    fails = "op.execute('CREATE TABLE users (id int)')"
    add_revision(folder, "9001", HEAD, fails)

    alembic("upgrade", "head", folder=folder, DATABASE_URL=migrated_database_url, AUDIFI_COMMIT=40 * "a")

    kept = last_failure(migrated_database_url)
    assert re.fullmatch(
        r"[-\dT:]{19}Z 0\.1\.0\+aaaaaaa: Running upgrade \w+ -> 9001, Revision 9001\.: "
        r"\w+: relation \"users\" already exists",
        kept,
    )
    alembic("current", folder=folder, DATABASE_URL=migrated_database_url)
    assert last_failure(migrated_database_url) == kept
    assert alembic("upgrade", "head", DATABASE_URL=migrated_database_url).returncode == 0
    assert not last_failure(migrated_database_url)


def last_failure(url: str) -> str:
    """As the deploy asks a running machine."""
    done = CliRunner().invoke(commands, ["migrations", "last-failure"], env={"DATABASE_URL": url})
    assert done.exit_code == 0, done.output
    return done.output


def test_bug_in_a_migration_shows_its_traceback(folder: Path, migrated_database_url: str) -> None:
    add_revision(folder, "9001", HEAD, "op.execute('CREATE TABLE half ()'); op.no_such_thing()")

    failed = alembic("upgrade", "head", folder=folder, DATABASE_URL=migrated_database_url)

    assert failed.returncode != 0
    assert "no_such_thing" in failed.stderr
    assert databases.fetch_value(migrated_database_url, TABLES) == OURS


def test_concurrent_upgrade_waits_and_does_nothing(folder: Path, empty_database_url: str) -> None:
    add_revision(folder, "9001", HEAD, WAIT_UNTIL_IT_MAY_GO_ON)
    logs = [folder / "one.log", folder / "other.log"]
    processes = [start(folder, log, empty_database_url) for log in logs]
    wait_until(lambda: any("another migration is running; waiting" in log.read_text() for log in logs))
    databases.execute(empty_database_url, "CREATE SCHEMA go_on")

    assert [process.wait() for process in processes] == [0, 0]
    first, second = sorted((log.read_text() for log in logs), key=lambda log_text: "nothing to apply" in log_text)
    assert "applied 9001" in first
    assert "another migration is running; waiting" in second
    assert "applied" not in second


def test_wait_for_another_migration_is_bounded(folder: Path, empty_database_url: str) -> None:
    with databases.holding(empty_database_url, f"SELECT pg_advisory_xact_lock({0x617564696669})"):
        late = alembic(
            "upgrade", "head", folder=folder, DATABASE_URL=empty_database_url, MIGRATION_QUEUE_TIMEOUT_SECONDS="1"
        )

    assert late.returncode != 0
    assert "another migration was still running after 1 s" in late.stdout


def test_waiting_does_not_block_a_concurrent_index(folder: Path, migrated_database_url: str) -> None:
    concurrently = (
        "with op.get_context().autocommit_block():\n"
        f"        {WAIT_UNTIL_IT_MAY_GO_ON}\n"
        "        op.execute('CREATE INDEX CONCURRENTLY created ON users (created_at)')"
    )
    add_revision(folder, "9001", HEAD, concurrently)
    logs = [folder / "first.log", folder / "second.log"]
    processes = [start(folder, log, migrated_database_url) for log in logs]
    wait_until(lambda: any("another migration is running" in log.read_text() for log in logs))
    databases.execute(migrated_database_url, "CREATE SCHEMA go_on")

    assert [process.wait() for process in processes] == [0, 0], [log.read_text() for log in logs]
    valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'created'::regclass"
    assert databases.fetch_value(migrated_database_url, valid) is True


def test_lock_wait_ends_before_traffic_queues(folder: Path, migrated_database_url: str) -> None:
    add_revision(folder, "9001", HEAD, "op.execute('ALTER TABLE users ADD COLUMN note text')")

    with databases.holding(migrated_database_url, "SELECT * FROM users"):
        failed = alembic(
            "upgrade",
            "head",
            folder=folder,
            DATABASE_URL=migrated_database_url,
            MIGRATION_LOCK_TIMEOUT_SECONDS="0.5",
            MIGRATION_LOCK_PATIENCE_SECONDS="8",  # the longest pause is 4
        )

    assert failed.returncode != 0
    assert "lock timeout" in failed.stdout
    assert "letting requests through, then trying again" in failed.stderr
    assert databases.fetch_value(migrated_database_url, REVISION) == HEAD


def test_lock_is_retried_between_requests(folder: Path, migrated_database_url: str) -> None:
    add_revision(folder, "9001", HEAD, "op.execute('ALTER TABLE users ADD COLUMN note text')")

    with ThreadPoolExecutor(1) as threads:
        with databases.holding(migrated_database_url, "SELECT FROM users") as waiting:
            migrating = threads.submit(alembic, "upgrade", "head", folder=folder, DATABASE_URL=migrated_database_url)
            for is_waiting in (True, False, True):  # for its lock; then not, so that others get theirs; then again
                wait_until(lambda: bool(waiting()) == is_waiting)  # noqa: B023 - used at once
        done = migrating.result()

    assert done.returncode == 0, done.stdout
    assert "letting requests through" in done.stderr
    assert databases.fetch_value(migrated_database_url, REVISION) == "9001"


@pytest.mark.parametrize("where", ["op", "autocommit"])
def test_long_statement_is_cancelled(folder: Path, empty_database_url: str, where: str) -> None:
    sleep = "op.execute('SELECT pg_sleep(30)')"
    add_revision(
        folder,
        "9001",
        HEAD,
        sleep if where == "op" else f"with op.get_context().autocommit_block():\n        {sleep}",
    )

    failed = alembic(
        "upgrade", "head", folder=folder, DATABASE_URL=empty_database_url, MIGRATION_STATEMENT_TIMEOUT_SECONDS="0.5"
    )

    assert failed.returncode != 0
    assert "statement timeout" in failed.stdout


def test_waking_database_is_waited_for(folder: Path) -> None:
    port = apis.free_port()
    log = folder / "log"
    process = start(folder, log, f"postgres://postgres@127.0.0.1:{port}/postgres")
    wait_until(lambda: f"waiting for 127.0.0.1:{port}/postgres: ConnectionRefusedError" in log.read_text())
    with databases.own_server(port):
        assert process.wait() == 0

    assert "applied 0001" in log.read_text()


def test_wait_for_a_database_is_bounded() -> None:
    failed = alembic(
        "upgrade", "head", DATABASE_URL="postgres://u:s3cr3t@127.0.0.1:1/d", MIGRATION_WAKE_TIMEOUT_SECONDS="1"
    )

    assert failed.returncode != 0
    assert "FAILED: can't reach 127.0.0.1:1/d: ConnectionRefusedError" in failed.stdout
    assert "s3cr3t" not in failed.stdout + failed.stderr


@pytest.mark.parametrize(
    ("credentials", "cause"),
    [("postgres:wrong", "InvalidPasswordError"), ("postgres:secret", "InvalidCatalogNameError")],
)
def test_permanent_error_fails_at_once(own_postgres: Postgres, credentials: str, cause: str) -> None:
    failed = alembic("upgrade", "head", DATABASE_URL=f"postgres://{credentials}@127.0.0.1:{own_postgres.port}/nowhere")

    assert failed.returncode != 0
    assert cause in failed.stdout
    assert "waiting" not in failed.stderr


# Wait for the sleep, not for the query: a cancellation between parsing and execution has no effect.
ASLEEP = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"


def start_and_wait_until_asleep(folder: Path, url: str) -> subprocess.Popen[str]:
    """Start a migration that has made a table and then sleeps for half a minute."""
    add_revision(folder, "9001", HEAD, "op.execute('CREATE TABLE half ()'); op.execute('SELECT pg_sleep(30)')")
    process = subprocess.Popen(
        ["alembic", "upgrade", "head"],
        cwd=folder,
        env=apis.environment(DATABASE_URL=url),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    wait_until(lambda: databases.fetch_value(url, ASLEEP) == 1)
    return process


def test_killed_migration_leaves_nothing_behind(folder: Path, migrated_database_url: str) -> None:
    """Fly destroys a release machine when another deploy replaces it.

    Its statement must end with it: it would keep its locks, without the lock that the next migration waits for.
    """
    killed = start_and_wait_until_asleep(folder, migrated_database_url)
    killed.kill()
    killed.communicate()
    wait_until(lambda: databases.fetch_value(migrated_database_url, ASLEEP) == 0)
    add_revision(folder, "9001", HEAD, "op.execute('CREATE TABLE whole ()')")

    again = alembic("upgrade", "head", folder=folder, DATABASE_URL=migrated_database_url)

    assert again.returncode == 0, again.stdout + again.stderr
    assert databases.fetch_value(migrated_database_url, TABLES) == " ".join(sorted([*OURS.split(" "), "whole"]))


def test_ctrl_c_rolls_back_with_a_message(folder: Path, migrated_database_url: str) -> None:
    process = start_and_wait_until_asleep(folder, migrated_database_url)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate()

    assert process.returncode == 255
    assert "FAILED: interrupted; the transaction was rolled back" in output
    assert "Traceback" not in output
    assert databases.fetch_value(migrated_database_url, TABLES) == OURS


def test_migration_without_its_lock_does_not_commit(folder: Path, migrated_database_url: str) -> None:
    add_revision(folder, "9001", HEAD, f"op.execute('CREATE TABLE half ()'); {WAIT_UNTIL_IT_MAY_GO_ON}")
    with ThreadPoolExecutor(1) as threads:
        run = threads.submit(alembic, "upgrade", "head", folder=folder, DATABASE_URL=migrated_database_url)
        cut = (
            "SELECT count(pg_terminate_backend(pid)) FROM pg_locks WHERE locktype = 'advisory' "
            "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        wait_until(lambda: databases.fetch_value(migrated_database_url, cut) == 1)
        databases.execute(migrated_database_url, "CREATE SCHEMA go_on")
        failed = run.result()

    assert failed.returncode != 0
    assert "FAILED: " in failed.stdout
    assert databases.fetch_value(migrated_database_url, TABLES) == OURS


def test_read_only_command_does_not_wait(migrated_database_url: str) -> None:
    with databases.holding(migrated_database_url, f"SELECT pg_advisory_xact_lock({0x617564696669})"):
        current = alembic("current", DATABASE_URL=migrated_database_url, MIGRATION_QUEUE_TIMEOUT_SECONDS="1")

    assert current.returncode == 0
    assert current.stdout == f"{HEAD} (head)\n"
    assert "apply" not in current.stderr


def test_stamp_is_reported_as_stamped(empty_database_url: str) -> None:
    stamp = alembic("stamp", "head", DATABASE_URL=empty_database_url)

    assert stamp.returncode == 0
    assert f"stamped {HEAD}" in stamp.stderr
    assert "applied" not in stamp.stderr


def test_server_without_tls_fails_at_once(postgres_server: Postgres) -> None:
    with relay(postgres_server.socket_folder, postgres_server.port) as plain:
        url = f"postgres://postgres@127.0.0.1:{plain.port}/postgres?sslmode=require"
        failed = alembic("upgrade", "head", DATABASE_URL=url)

    assert failed.returncode != 0
    assert "rejected SSL upgrade" in failed.stdout
    assert "waiting" not in failed.stderr


def test_missing_database_url_is_named() -> None:
    failed = alembic("upgrade", "head")

    assert failed.returncode != 0
    assert "FAILED: DATABASE_URL: is missing" in failed.stdout
    assert "Traceback" not in failed.stderr


def test_printed_sql_makes_the_same_schema(empty_database_url: str) -> None:
    printed = alembic("upgrade", "head", "--sql")

    assert printed.returncode == 0
    assert "SET LOCAL lock_timeout = '1000'" in printed.stdout
    psql = [str(postgres.BINARIES / "psql"), "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", empty_database_url]
    subprocess.run(psql, input=printed.stdout, text=True, timeout=250, check=True)
    assert alembic("check", DATABASE_URL=empty_database_url).returncode == 0


def test_constraint_names_follow_the_convention(database_url: str) -> None:
    query = "SELECT string_agg(conname, ' ' ORDER BY conname) FROM pg_constraint WHERE conrelid = 'users'::regclass"

    assert databases.fetch_value(database_url, query) == (
        "ck_users_display_name_length ck_users_email_key_length ck_users_email_length ck_users_role pk_users"
        " uq_users_email_key"
    )


def test_pgqueuer_lacks_only_the_notify_trigger(database_url: str) -> None:
    """An update of the package that wants another schema is noticed here; it then takes a migration."""

    async def plan() -> list[str]:
        connection = await asyncpg.connect(database_url)
        try:
            return list((await Queries.from_asyncpg_connection(connection).plan_upgrade()).statements)
        finally:
            await connection.close()

    missed = [statement.split("(")[0].split("\n")[0].strip() for statement in asyncio.run(plan())]
    assert missed == ["CREATE FUNCTION fn_pgqueuer_changed", "CREATE TRIGGER tg_pgqueuer_changed"]


def test_auth_events_are_append_only(migrated_database_url: str) -> None:
    add = "INSERT INTO auth_events (id, event, user_id, created_at) VALUES (gen_random_uuid(), 'user.created', {}, {})"
    me = "'00000000-0000-7000-8000-000000000000'"
    databases.execute(migrated_database_url, add.format(me, "now()"), add.format(me, "now() - interval '366 days'"))

    for change in (
        "UPDATE auth_events SET detail = 'x'",
        "DELETE FROM auth_events WHERE created_at > now() - interval '1 day'",
        "TRUNCATE auth_events",
    ):
        with pytest.raises(asyncpg.RestrictViolationError, match="append-only"):
            databases.execute(migrated_database_url, change)
    databases.execute(migrated_database_url, "DELETE FROM auth_events WHERE created_at < now() - interval '365 days'")
    assert databases.fetch_value(migrated_database_url, "SELECT count(*) FROM auth_events") == 1
