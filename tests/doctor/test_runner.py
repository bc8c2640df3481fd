"""`python -m audifi doctor`, with the problems that it must find."""

import asyncio
import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol
from uuid import uuid4

import pytest
from typer.testing import CliRunner

from audifi.cli import app as commands
from audifi.core.clock import utc_now
from audifi.doctor import database
from audifi.doctor.results import Result
from audifi.doctor.runner import limit_time, run_checks
from dev.postgres import Postgres
from tests.support import api as apis
from tests.support import databases, pgbouncer
from tests.support import sendgrid as sendgrids
from tests.support.api import Api
from tests.support.relay import relay
from tests.support.sendgrid import SendGrid

KEY = "SG.the-key-of-the-tests"
PASSWORD = "s3cr3t"
ALL = "settings addresses database connections migrations tables clock queue ledger".split()
ALL += "mail delivery files payments server".split()


@dataclass(frozen=True, kw_only=True)
class Report:
    status: int
    text: str

    def of(self, check: str, mark: str = "✗") -> str:
        """Return the text of a check that has this mark."""
        return "\n".join(re.findall(rf"^{mark} {check} +(.*)$", self.text, re.MULTILINE))


type Doctor = Callable[..., Report]


@pytest.fixture
def sendgrid() -> Iterator[SendGrid]:
    with sendgrids.running() as running:
        yield running


@pytest.fixture
def variables(
    health_api: Api, migrated_database_url: str, sendgrid: SendGrid, storage: Mapping[str, str]
) -> dict[str, str]:
    """Variables of a healthy machine, with a database in which no other test has left failed jobs."""
    return {
        "DATABASE_URL": migrated_database_url,
        "HOST": "127.0.0.1",
        "PORT": str(health_api.port),
        "APP_URL": apis.APP_URL,
        "SENDGRID_API_KEY": KEY,
        "SENDGRID_API_URL": sendgrid.url,
        "SENDGRID_WEBHOOK_PUBLIC_KEY": sendgrids.PUBLIC_KEY,
        "FLY_APP_NAME": "audifi-api-test",
        **apis.SECRETS,
        **storage,
    }


@pytest.fixture
def doctor(variables: dict[str, str]) -> Doctor:
    """Run the command with changed environment variables."""

    def run(*arguments: str, **changed: str | None) -> Report:
        result = CliRunner().invoke(commands, ["doctor", *arguments], env=variables | changed)
        assert not [
            secret
            for secret in (KEY, PASSWORD, *apis.SECRETS.values(), apis.FILES["FILES_SECRET"])
            if secret in result.output
        ]
        assert result.exception is None or isinstance(result.exception, SystemExit)
        return Report(status=result.exit_code, text=result.output)

    return run


class RunChecks(Protocol):
    """Runs the checks in this process; environment variables are in capitals, arguments of `run_checks` aren't."""

    def __call__(self, **changed: Any) -> dict[str, Result]: ...


@pytest.fixture
def run(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> RunChecks:
    def run(**changed: Any) -> dict[str, Result]:
        for name, value in (variables | {name: value for name, value in changed.items() if name.isupper()}).items():
            monkeypatch.setenv(name, value)
        arguments = {name: value for name, value in changed.items() if name.islower()}
        return {result.check: result for result in asyncio.run(run_checks(**arguments))}

    return run


def test_healthy_machine_has_a_line_per_check(doctor: Doctor) -> None:
    report = doctor()

    assert re.findall(r"^(?:✓|!) (\w+) +\S", report.text, re.MULTILINE) == [*ALL, "machine"]
    assert all(report.of(check, "✓") for check in ALL), report.text
    assert report.status == 0


def test_command_runs_from_any_folder(variables: dict[str, str]) -> None:
    command = [sys.executable, "-W", "error", "-m", "audifi", "doctor"]
    done = subprocess.run(
        command, env=apis.environment(**variables), cwd="/", capture_output=True, text=True, timeout=250, check=False
    )

    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert "✓ migrations   The schema is at " in done.stdout


def test_json_output_has_each_result(doctor: Doctor) -> None:
    healthy, failing = doctor("--json"), doctor("--json", PORT=str(apis.free_port()))

    assert json.loads(healthy.text)["ok"] is True
    assert [check["check"] for check in json.loads(healthy.text)["checks"]] == [*ALL, "machine"]
    assert (json.loads(failing.text)["ok"], failing.status) == (False, 1)
    [server] = [check for check in json.loads(failing.text)["checks"] if check["check"] == "server"]
    assert server["state"] == "error"
    assert server["action"]


# --- settings ---


def test_wrong_settings_leave_the_database_checked(
    doctor: Doctor,
) -> None:
    report = doctor(JWT_SECRET=None, APP_URL="s3cr3t")

    assert report.status == 1
    assert "JWT_SECRET: is missing." in report.of("settings")
    assert "APP_URL: must be a URL" in report.of("settings")
    assert report.of("database", "✓")
    skipped = {check for check in ALL if report.of(check, "-")}
    assert skipped == {"addresses", "mail", "delivery", "files", "payments", "server"}


def test_checks_without_settings_are_skipped(doctor: Doctor, variables: dict[str, str]) -> None:
    report = doctor(**dict.fromkeys(variables))

    assert report.status == 1
    assert "DATABASE_URL: is missing." in report.of("settings")
    assert [check for check in ALL if report.of(check, "-")] == ALL[1:]


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"APP_URL": "https://localhost:3000"}, "APP_URL or ALLOWED_ORIGINS points to this machine"),
        ({"ALLOWED_ORIGINS": "http://app.audifi.test"}, "ALLOWED_ORIGINS has an origin without https"),
        ({"FLY_APP_NAME": None}, "FLY_APP_NAME isn't set"),
        ({"TRUSTED_PROXIES": ""}, "TRUSTED_PROXIES is empty"),
    ],
)
def test_unlikely_production_settings_are_warnings(
    doctor: Doctor, changed: dict[str, str | None], sentence: str
) -> None:
    report = doctor(**changed)

    assert sentence in report.of("addresses", "!")
    assert report.status == 0


# --- the database ---


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("postgres://u:s3cr3t@127.0.0.1:1/d", "127.0.0.1:1/d can't be reached."),
        ("postgres://u:s3cr3t@nowhere.invalid/d", "nowhere.invalid:5432/d has a name that doesn't resolve."),
    ],
)
def test_unreachable_database_and_unknown_host_differ(doctor: Doctor, url: str, sentence: str) -> None:
    report = doctor(DATABASE_URL=url)

    assert report.of("database").startswith(sentence)
    assert report.of("mail", "✓")
    assert (report.status, report.of("clock", "-")) == (1, "Skipped: it needs the database.")


@pytest.mark.parametrize("mode", ["prefer", "disable"])
def test_proxy_without_database_is_recognized(doctor: Doctor, mode: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as proxy, ThreadPoolExecutor(1) as threads:
        threads.submit(close_each, proxy)
        port = proxy.getsockname()[1]
        report = doctor(DATABASE_URL=f"postgres://postgres@127.0.0.1:{port}/postgres?sslmode={mode}")
        proxy.shutdown(socket.SHUT_RDWR)  # ends accept()

    assert report.of("database").startswith(f"127.0.0.1:{port}/postgres accepts the connection and closes it.")


def close_each(listener: socket.socket) -> None:
    with suppress(OSError):
        while True:
            connection, _ = listener.accept()
            connection.recv(100)
            connection.close()


def test_wrong_password_and_unknown_database_differ(doctor: Doctor, own_postgres: Postgres) -> None:
    server = f"127.0.0.1:{own_postgres.port}"

    assert "refuses the user or the password" in doctor(
        DATABASE_URL=f"postgres://postgres:{PASSWORD}@{server}/postgres"
    ).of("database")
    assert "doesn't exist on its server" in doctor(DATABASE_URL=f"postgres://postgres:secret@{server}/none").of(
        "database"
    )
    assert "doesn't speak TLS" in doctor(
        DATABASE_URL=f"postgres://postgres:secret@{server}/postgres?sslmode=require"
    ).of("database")


@pytest.mark.slow
def test_frozen_database_times_out(doctor: Doctor, own_postgres: Postgres) -> None:
    own_postgres.signal(signal.SIGSTOP)

    assert "doesn't answer in time" in doctor(DATABASE_URL=own_postgres.url()).of("database")


@pytest.mark.slow
def test_silent_database_times_out(run: RunChecks, postgres_server: Postgres) -> None:
    with relay(postgres_server.socket_folder, postgres_server.port) as network:

        async def silence(check: str, context: database.CheckContext) -> Result:
            network.silent = True
            return await database.server(check, context)

        results = run(
            DATABASE_URL=f"postgres://postgres@127.0.0.1:{network.port}/postgres",
            database_checks={**database.CHECKS, "database": silence},
        )

    assert "doesn't answer in time" in results["database"].message
    assert not any(results[check].state == "ok" for check in database.CHECKS)
    assert results["mail"].state == "ok"


@pytest.mark.parametrize(
    ("revision", "sentence"),
    [(None, "The database has never been migrated."), ("0004", r"The schema is at 0004, \d+ behind \d{4}\.")],
)
def test_old_schema_is_an_error(doctor: Doctor, empty_database_url: str, revision: str | None, sentence: str) -> None:
    if revision:
        assert databases.alembic("upgrade", revision, DATABASE_URL=empty_database_url).returncode == 0
    report = doctor(DATABASE_URL=empty_database_url)

    assert re.match(rf"{sentence} Migrate: `alembic upgrade head`", report.of("migrations")), report.text
    assert report.status == 1


def test_newer_schema_is_a_warning(doctor: Doctor, migrated_database_url: str) -> None:
    databases.execute(migrated_database_url, "UPDATE alembic_version SET version_num = '9999'")
    report = doctor(DATABASE_URL=migrated_database_url)

    assert report.of("migrations", "!").startswith("The schema is at 9999, which this version")
    assert report.status == 0


def test_failed_migration_of_a_newer_version_is_a_warning(doctor: Doctor, migrated_database_url: str) -> None:
    databases.execute(migrated_database_url, "COMMENT ON TABLE alembic_version IS 'Running upgrade: division by zero'")
    report = doctor(DATABASE_URL=migrated_database_url)

    assert "`python -m audifi migrations last-failure` shows why." in report.of("migrations", "!")
    assert "division" not in report.text
    assert report.status == 0


def test_missing_privileges_are_named(doctor: Doctor, migrated_database_url: str) -> None:
    role = f"role_{uuid4().hex}"
    databases.execute(
        migrated_database_url,
        f"CREATE ROLE {role} LOGIN",
        f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}",
        f"REVOKE DELETE, UPDATE ON users FROM {role}",
    )
    report = doctor(DATABASE_URL=migrated_database_url.replace("//postgres@", f"//{role}@"))

    assert report.of("tables").startswith("Missing tables or privileges: users (UPDATE DELETE).")


def test_read_only_database_is_an_error(
    doctor: Doctor, start_api: Callable[..., Api], migrated_database_url: str
) -> None:
    url = f"{migrated_database_url}&options=-c%20default_transaction_read_only%3Don"
    report = doctor(DATABASE_URL=url, PORT=str(start_api(url).port))

    assert "accepts no writes: it is set to read-only. Fly Postgres does that" in report.of("database")
    assert "is degraded: the database is read-only" in report.of("server")


@pytest.mark.skipif(pgbouncer.PROGRAM is None, reason="PgBouncer isn't here: apt-get install pgbouncer")
def test_pooler_is_named(doctor: Doctor, postgres_server: Postgres, migrated_database_url: str) -> None:
    name = migrated_database_url.split("/")[3].split("?", maxsplit=1)[0]
    with pgbouncer.running(postgres_server) as port:
        report = doctor(DATABASE_URL=f"postgres://postgres@127.0.0.1:{port}/{name}")

    assert "through a pooler as postgres" in report.of("database", "✓")
    assert report.of("connections", "-") == "Skipped: it needs a direct connection; a pooler has limits of its own."
    assert report.status == 0


def test_pool_larger_than_the_database_allows_is_named(doctor: Doctor, migrated_database_url: str) -> None:
    name = databases.fetch_value(migrated_database_url, "SELECT current_database()")
    databases.execute(migrated_database_url, f"ALTER DATABASE {name} CONNECTION LIMIT 200")
    sizes = {"DATABASE_POOL_SIZE": "100", "DATABASE_READ_POOL_SIZE": "100"}
    error = doctor(DATABASE_URL=migrated_database_url, **sizes)
    warning = doctor(DATABASE_URL=migrated_database_url, DATABASE_POOL_SIZE="54")

    assert "one machine can open 205" in error.of("connections")
    assert "a deploy of 2 machines 258" in warning.of("connections", "!")


@pytest.mark.parametrize(("seconds", "state"), [(0, "ok"), (-7, "error"), (7, "error")])
def test_clock_beyond_the_tokens_leeway_is_an_error(run: RunChecks, seconds: int, state: str) -> None:
    assert run(clock=lambda: utc_now() + timedelta(seconds=seconds))["clock"].state == state


def test_late_jobs_are_errors_and_failed_ones_warnings(doctor: Doctor, migrated_database_url: str) -> None:
    job = "INSERT INTO pgqueuer (priority, status, entrypoint, execute_after) VALUES (0, '{}', 'mail', now() {})"
    databases.execute(migrated_database_url, job.format("failed", ""))
    given_up = doctor(DATABASE_URL=migrated_database_url)
    databases.execute(migrated_database_url, job.format("queued", "- interval '10 minutes'"))
    late = doctor(DATABASE_URL=migrated_database_url)

    assert (given_up.status, given_up.of("queue", "!")[:26]) == (0, "1 jobs have failed for goo")
    assert (late.status, late.of("queue")[:35]) == (1, "A job has been due for 10 minutes; ")


# --- mail ---


@pytest.mark.parametrize(
    ("status", "scopes", "sentence"),
    [
        (401, [], "SendGrid refuses the key (401)."),
        (403, [], "SendGrid refuses the key (403)."),
        (503, [], "answers 503."),
        (200, ["stats.read"], "it lacks the permission mail.send."),
    ],
)
def test_key_that_cannot_send_is_an_error(
    doctor: Doctor, sendgrid: SendGrid, status: int, scopes: list[str], sentence: str
) -> None:
    sendgrid.key_status, sendgrid.scopes = status, scopes
    report = doctor()

    assert sentence in report.of("mail")
    assert report.status == 1


def test_silent_provider_is_an_error(run: RunChecks, sendgrid: SendGrid) -> None:
    sendgrid.seconds = 2

    assert "can't be reached: " in run(request_seconds=0.2)["mail"].message


def test_unreachable_provider_is_an_error(doctor: Doctor) -> None:
    url = f"http://127.0.0.1:{apis.free_port()}"

    assert "can't be reached: ConnectError" in doctor(SENDGRID_API_URL=url).of("mail")


def test_failing_check_leaves_the_others_alone(run: RunChecks) -> None:
    async def fail(check: str, context: database.CheckContext) -> Result:
        raise ZeroDivisionError(check, context)

    results = run(database_checks={**database.CHECKS, "clock": fail})

    assert results["clock"].message == "The check failed: ZeroDivisionError."
    assert results["queue"].state == results["server"].state == "ok"


def test_failing_group_of_checks_is_an_error() -> None:
    async def fail() -> list[Result]:
        raise ZeroDivisionError

    [result] = asyncio.run(limit_time("server", fail(), 60))

    assert result.message == "The check failed: ZeroDivisionError."


def test_endless_group_of_checks_is_ended() -> None:
    async def wait() -> list[Result]:
        await asyncio.Event().wait()
        return []

    [result] = asyncio.run(limit_time("mail", wait(), 0.01))

    assert result.message == "The check took more than 0.01 s."


def test_development_needs_no_key(doctor: Doctor) -> None:
    report = doctor(ENVIRONMENT="development", SENDGRID_API_KEY=None)

    assert "e-mails are printed" in report.of("mail", "✓")
    assert "E-mails don't leave this machine." in report.of("delivery", "✓")
    assert report.status == 0


def test_unknown_outcome_of_emails_is_a_warning(doctor: Doctor) -> None:
    report = doctor(SENDGRID_WEBHOOK_PUBLIC_KEY=None)

    assert "The delivery of e-mails is unknown: SENDGRID_WEBHOOK_PUBLIC_KEY isn't set." in report.of("delivery", "!")
    assert report.status == 0


@pytest.mark.parametrize("environment", ["development", "production"])
def test_developer_is_not_told_to_run_flyctl(
    doctor: Doctor, migrated_database_url: str, sendgrid: SendGrid, environment: str
) -> None:
    databases.execute(
        migrated_database_url,
        "INSERT INTO pgqueuer (priority, status, entrypoint, execute_after) VALUES (0, 'queued', 'mail', 'yesterday')",
    )
    sendgrid.key_status = 401
    here = {"ENVIRONMENT": environment}
    stopped = doctor(**here, PORT=str(apis.free_port()))
    unset = doctor(**here, JWT_SECRET=None, DATABASE_URL="postgres://u:s3cr3t@127.0.0.1:1/d")

    actions = [stopped.of(check) for check in ("server", "queue", "mail")] + [unset.of("settings")]
    assert all(actions)
    assert ["fly" in action for action in actions] == [environment == "production"] * 4
    assert "{" not in stopped.text + unset.text


# --- files ---


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("FILES_SECRET", "another", "the storage answered 403."),
        ("FILES_BUCKET", "another", " has no bucket another."),
        ("FILES_ENDPOINT", "http://127.0.0.1:1", "127.0.0.1:1: the storage can't be reached: ConnectError."),
    ],
)
def test_storage_that_refuses_is_an_error(doctor: Doctor, name: str, value: str, sentence: str) -> None:
    report = doctor(**{name: value})

    assert sentence in report.of("files")
    assert report.status == 1


# --- the server ---


def test_servers_are_told_apart(doctor: Doctor, sendgrid: SendGrid) -> None:
    assert "Nothing listens on 127.0.0.1:" in doctor(PORT=str(apis.free_port())).of("server")
    assert "Another program answers" in doctor(PORT=sendgrid.url.rpartition(":")[2]).of("server")
    assert "; this is 0.1.0+abcdef1." in doctor(AUDIFI_COMMIT="abcdef1").of("server", "!")


def test_server_without_database_is_an_error(doctor: Doctor, start_api: Callable[..., Api]) -> None:
    api = start_api("postgres://u@127.0.0.1:1/d")

    assert "answers 503: it can't reach the database" in doctor(PORT=str(api.port)).of("server")


def test_violated_ledger_is_an_error(doctor: Doctor, variables: dict[str, str]) -> None:
    databases.execute(
        variables["DATABASE_URL"],
        "SET session_replication_role = replica",  # without the triggers that keep the ledger right
        "INSERT INTO ledger_accounts (id, owner_kind, purpose, asset_id, stripe, posted, held, floor,"
        " version, accrues, created_at)"
        " VALUES (gen_random_uuid(), 'platform', 'tax', (SELECT min(id) FROM ledger_assets), 0, 5, 0, 0, 0,"
        " false, now())",
    )

    report = doctor()

    assert report.of("ledger").startswith("Violated: ledger_assets_sum_to_zero, ledger_balances_equal_entries.")
    assert report.status == 1


def test_slow_proof_of_the_ledger_is_a_warning(
    doctor: Doctor, variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "PROOF_SECONDS", 0.01)
    with databases.holding(variables["DATABASE_URL"], "LOCK TABLE ledger_accounts"):
        report = doctor()

    assert report.of("ledger", "!").startswith("Proving the ledger takes more than 0.01 s.")
    assert report.status == 0
