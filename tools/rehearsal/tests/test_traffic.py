"""The rehearsal's traffic against the app over HTTP."""

import json
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from dev.postgres import Postgres
from tests.support import api, app, databases, sendgrid
from tests.support.clients import Client, asking
from tests.support.waiting import wait_until
from tools.rehearsal import traffic
from tools.rehearsal.report import figures
from tools.rehearsal.writes import Write, lost_writes, read_lines, writes_in

RATE = 60


@contextmanager
def signed_in(url: str, mails: sendgrid.SendGrid, accounts: int = 2) -> Iterator[list[str]]:
    """Yield refresh tokens of new accounts."""
    with asking(url) as http:
        yield [Client(http, mails).sign_in().tokens["refresh_token"] for _ in range(accounts)]


@dataclass(frozen=True, kw_only=True)
class Run:
    """The results of a second of traffic."""

    file: Path
    version: str
    database_url: str

    @property
    def writes(self) -> list[Write]:
        return writes_in(self.file)


@pytest.fixture(scope="module")
def mails() -> Iterator[sendgrid.SendGrid]:
    with sendgrid.running() as running:
        yield running


@pytest.fixture(scope="module")
def shared_run(postgres_server: Postgres, mails: sendgrid.SendGrid, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run against a host name that doesn't resolve, as in the rehearsal."""
    url = databases.create_database(postgres_server, databases.TEMPLATE)
    file = tmp_path_factory.mktemp("traffic") / "requests.jsonl"
    with (
        app.running(url, sendgrid_url=mails.url) as server,
        signed_in(server.url, mails) as tokens,
        traffic.running("http://api.audifi.test", file, tokens, rate=RATE, connect=urlsplit(server.url).netloc),
    ):
        time.sleep(1)
    return Run(file=file, version=server.asgi.version, database_url=url)


@pytest.fixture
def run(postgres_server: Postgres, shared_run: Run) -> Run:
    """The shared run with a separate copy of its database."""
    name = urlsplit(shared_run.database_url).path.removeprefix("/")
    return replace(shared_run, database_url=databases.create_database(postgres_server, name))


def test_traffic_mixes_kinds_and_connections(
    run: Run,
) -> None:
    lines = sorted(read_lines(run.file), key=lambda line: float(line["start"]))

    kinds = Counter(line["kind"] for line in lines)
    assert kinds.total() > RATE * 0.8
    ninth = kinds.total() / 9
    for kind, share in {"health": 6, "read": 2, "write": 1}.items():
        assert share * ninth - 2 <= kinds[kind] <= share * ninth + 2
    assert {line["status"] for line in lines} == {200}
    assert {line["version"] for line in lines if line["kind"] == "health"} == {run.version}
    assert sum(line.get("single", False) for line in lines) == pytest.approx(len(lines) / 10, abs=1)
    assert all(abs(later - earlier - 1 / RATE) < 0.001 for earlier, later in pairwise(line["start"] for line in lines))


def test_all_writes_of_an_account_are_in_the_database(run: Run) -> None:
    writes = run.writes

    users = {write.user for write in writes}
    assert len(users) == 2
    for user in users:
        numbers = [write.n for write in writes if write.user == user]
        assert numbers == list(range(1, len(numbers) + 1))
    assert all(write.acknowledged for write in writes)
    assert lost_writes(run.database_url, writes) == []


def test_acknowledged_write_without_its_event_is_lost(run: Run) -> None:
    writes = run.writes
    gone = writes[3]

    forget(run.database_url, gone)

    assert lost_writes(run.database_url, writes) == [gone]


def test_last_write_missing_from_the_account_is_lost(run: Run) -> None:
    writes = run.writes
    last = writes[-1]

    rename(run.database_url, last.user, "write-1")

    assert lost_writes(run.database_url, writes) == [last]


def test_unacknowledged_write_may_be_applied_late(run: Run) -> None:
    *others, last = run.writes
    untold = Write(user=last.user, n=last.n - 1, start=last.start - 0.0001, acknowledged=False, refused=False)
    before = [write for write in others if (write.user, write.n) != (untold.user, untold.n)]

    rename(run.database_url, last.user, untold.name)

    assert lost_writes(run.database_url, [*before, untold, last]) == []


def test_last_write_is_the_one_that_ended_last(tmp_path: Path) -> None:
    file = tmp_path / "requests.jsonl"
    common = {"kind": "write", "user": "u", "status": 200}
    lines = [{"start": 10.0, "seconds": 5.0, "n": 2}, {"start": 10.1, "seconds": 1.0, "n": 1}]
    file.write_text("".join(json.dumps(common | line) + "\n" for line in lines))

    assert [write.n for write in writes_in(file)] == [1, 2]


def test_killed_server_causes_failures_and_no_retries(
    migrated_database_url: str, mails: sendgrid.SendGrid, tmp_path: Path
) -> None:
    out = tmp_path / "requests.jsonl"
    settings = {
        "DATABASE_URL": migrated_database_url,
        "SENDGRID_API_KEY": "SG.the-key-of-the-tests",
        "SENDGRID_API_URL": mails.url,
    }
    with (
        api.running(tmp_path, **settings) as server,
        signed_in(server.url, mails) as tokens,
        traffic.running(server.url, out, tokens, rate=RATE) as process,
    ):
        time.sleep(0.5)
        server.process.kill()
        killed = time.time()
        time.sleep(0.5)
        assert process.poll() is None

    after = [line for line in read_lines(out) if line["start"] > killed + 0.1]
    assert len(after) > RATE * 0.3
    assert {line["status"] for line in after} <= {"ClientConnectorError", "ClientOSError", "ServerDisconnectedError"}
    assert all(line["detail"] for line in after)
    result = figures({"requests": read_lines(out)}, killed - 0.2, killed + 0.4)
    assert result.failed >= len([line for line in after if line["start"] < killed + 0.4])
    assert result.longest_gap is not None
    ends = [(line["start"] + line["seconds"], line["status"]) for line in read_lines(out)]
    last, last_good = max(ends)[0], max(end for end, status in ends if status == 200)
    assert result.longest_gap >= min(last, killed + 0.4) - max(last_good, killed - 0.2) - 0.001
    assert last_good < killed + 0.1
    assert lost_writes(migrated_database_url, writes_in(out)) == []


def test_busy_server_is_left_out_and_not_overloaded(
    migrated_database_url: str, mails: sendgrid.SendGrid, tmp_path: Path
) -> None:
    out = tmp_path / "requests.jsonl"
    settings = {
        "DATABASE_URL": migrated_database_url,
        "SENDGRID_API_KEY": "SG.the-key-of-the-tests",
        "SENDGRID_API_URL": mails.url,
    }
    with (
        api.running(tmp_path, **settings) as server,
        signed_in(server.url, mails) as tokens,
        traffic.running(server.url, out, tokens, rate=RATE, outstanding=5),
    ):
        server.process.send_signal(signal.SIGSTOP)
        frozen = time.time()
        time.sleep(1)
        server.process.send_signal(signal.SIGCONT)
        resumed = time.time()
        wait_until(lambda: any(line["start"] > resumed for line in read_lines(out)))

    lines = read_lines(out)
    assert {line["status"] for line in lines} == {200}
    assert len([line for line in lines if frozen < line["start"] < resumed]) <= 5


def forget(database_url: str, write: Write) -> None:
    """Delete the event of a write. The table is append-only: a superuser has to disable its triggers."""
    condition = f"user_id = '{write.user}' AND user_agent = '{write.name}'"
    databases.execute(
        database_url,
        "ALTER TABLE auth_events DISABLE TRIGGER USER",
        f"DELETE FROM auth_events WHERE {condition}",
    )


def rename(database_url: str, user: str, name: str) -> None:
    databases.execute(database_url, f"UPDATE users SET display_name = '{name}' WHERE id = '{user}'")
