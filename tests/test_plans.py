"""No statement of the server scans a whole large table.

A server handles requests and scheduled work on a PostgreSQL with many rows. The statements come from PostgreSQL's log,
and each is explained there. A new route needs only a request in `use_everything`, which a test enforces.
"""

import asyncio
import json
import re
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

import asyncpg
import httpx2
import pytest

from audifi.models import Base
from tests.payments import shops
from tests.support import app as apps
from tests.support import databases, statements
from tests.support.api import ROOT
from tests.support.app import App
from tests.support.clients import Browser, Client
from tests.support.feature import feature_fixtures
from tests.support.sendgrid import SendGrid
from tests.support.statements import Statement
from tools.stripe_stand_in import server as stand_ins

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

READ_WHOLE = {
    "compliance_rules": "has one row per action, and there are six",
    "withholding_rates": "has one row per country",
    "domain_event_readers": "has one row per reader in the code",
    "plan_prices": "has one row per price: current and former ones of each plan, interval and currency",
    "pgqueuer_schedules": "has one row per schedule in the code, and there is one schedule",
}
"""Tables that may be scanned, and why."""
READ_ALL = {
    "GROUP BY ledger_assets.code": "GET /ledger/proof adds up all accounts, for admins",
    "AS count FROM subscriptions": "the live subscriptions by plan and status, each minute",
    "AS submitted FROM ledger_accounts": "what is with Stripe, and the open payouts, by an index that has only those",
    "FROM payouts WHERE status IN ('requested', 'submitted') AND payouts.provider": "open payouts, by the same index",
    "FROM provider_events ORDER BY": "GET /payments/events, for admins: its limit ends the scan",
    "AS since FROM payouts": "the ages of open payouts, by an index that has only those",
}
"""Parts of statements that read whole tables on purpose, and why."""

# Enough rows for PostgreSQL to prefer an index.
ROWS = """
INSERT INTO users (id, email, email_key, created_at)
    SELECT gen_random_uuid(), address, address, now() - random() * interval '1 year'
    FROM (SELECT 'u' || n || '@example.org' AS address FROM generate_series(1, 20000) AS n) AS addresses;

-- Three sessions per account, some expired and some revoked; about a hundred were revoked just now.
INSERT INTO sessions (id, user_id, refresh_nonce, rotated_at, auth_time, amr, created_at, last_used_at,
        idle_expires_at, absolute_expires_at, revoked_at, revoked_reason)
    SELECT gen_random_uuid(), id, '', began, began, '{email}', began, began,
        least(began + interval '7 days', began + n * interval '10 days'), began + interval '30 days',
        CASE n WHEN 1 THEN least(began + interval '1 day', now()) END, CASE n WHEN 1 THEN 'signed_out' END
    FROM (SELECT id, n, now() - random() * interval '30 days' AS began FROM users, generate_series(1, 3) AS n) AS begun;

INSERT INTO sign_in_flows (id, email, email_key, token_hash, code_hash, flow_hash, delivery, created_at, expires_at,
        consumed_at)
    SELECT gen_random_uuid(), email, email_key, sha256(id::text::bytea), '', '', 'body', began,
        began + interval '10 minutes', CASE WHEN random() < 0.8 THEN began + interval '1 minute' END
    FROM (SELECT *, now() - random() * interval '1 day' AS began FROM users) AS users;

INSERT INTO auth_events (id, event, user_id, created_at)
    SELECT gen_random_uuid(), 'session.created', id, now() - random() * interval '1 year'
    FROM users, generate_series(1, 5);

INSERT INTO rate_limit_counters
    SELECT 'LIMITS:' || n, 1, now() + (random() - 0.2) * interval '1 hour' FROM generate_series(1, 20000) AS n;

INSERT INTO idempotency_keys (id, fingerprint, status, body, created_at)
    SELECT sha256(n::text::bytea), '', 201, '', now() - random() * interval '31 days'
    FROM generate_series(1, 20000) AS n;

INSERT INTO domain_events (xid, kind, subject_id, payload, at)
    SELECT n, 'dividend.claimed', gen_random_uuid(), '{}', now() - random() * interval '31 days'
    FROM generate_series(1, 20000) AS n;

-- After a day's outage of the e-mail provider: queued and failed jobs.
INSERT INTO pgqueuer (priority, status, entrypoint, execute_after)
    SELECT 0, 'queued', 'sign_in_email', now() + (1 + random()) * interval '1 hour' FROM generate_series(1, 300);
INSERT INTO pgqueuer (priority, status, entrypoint, execute_after, updated)
    SELECT 0, 'failed', 'sign_in_email', began, began
    FROM (SELECT now() - random() * interval '30 days' AS began FROM generate_series(1, 20000)) AS jobs;
INSERT INTO pgqueuer_log (job_id, status, priority, entrypoint, created)
    SELECT n, 'successful', 0, 'sign_in_email', now() - random() * interval '30 days'
    FROM generate_series(1, 50000) AS n;
"""

OUR_INDEXES = sorted(str(index.name) for table in Base.metadata.tables.values() for index in table.indexes)
OUR_INDEXES += ["ix_pgqueuer_failed_updated"]
# Without them, PostgreSQL scans all open flows or active sessions by the index on their expiry.
REPLACEABLE = {"ix_sign_in_flows_email_key_created_at", "ix_sessions_user_id"}
# Events that aren't done are few by their status, too.
REPLACEABLE |= {"ix_provider_events_undone"}
REPLACEABLE |= {
    str(index.name)
    for table in Base.metadata.tables.values()
    for index in table.indexes
    # Another index has its first column: PostgreSQL may select the same rows there.
    if any(other is not index and index.columns[0].name in other.columns for other in table.indexes)
    or index.columns[0].name in table.primary_key.columns
}

BACKGROUND = [
    "SELECT sessions.id, sessions.revoked_at FROM sessions WHERE sessions.revoked_at >",  # each second
    "INSERT INTO rate_limit_counters (key, count, expires_at) SELECT unnest(",  # traffic, each second
    "SELECT sign_in_flows.token_hash",  # the job that sends the e-mail
    "INSERT INTO auth_events (id, event, user_id, ip, user_agent, created_at) SELECT",  # a code is exhausted
    "INSERT INTO email_messages",  # that job records the e-mail, and the result
    "UPDATE email_messages",
    "DELETE FROM sign_in_flows",  # retention, and the following
    "FROM sessions WHERE sessions.idle_expires_at <",
    "FROM sessions WHERE sessions.revoked_at <",
    "DELETE FROM auth_events",
    "DELETE FROM rate_limit_counters",
    "DELETE FROM email_messages",
    "DELETE FROM pgqueuer WHERE",
    "DELETE FROM pgqueuer_log",
    "DELETE FROM domain_events",
    "next_queued AS (",  # the worker dequeues jobs
    "UPDATE ledger_holds SET status",  # every 30 s
]
"""Parts of statements that no request sends, which the capture must contain, too."""


def use_everything(app: App, sendgrid: SendGrid) -> None:
    """Send a request of each kind, valid and invalid."""
    assert app.http.get("/api/v1/health").is_success
    artist = Client(app.http, sendgrid).sign_in()
    for method, path, body in (
        ("GET", "/auth/me", None),
        ("PATCH", "/auth/me", {"display_name": "Ana"}),
        ("GET", "/auth/me/activity?limit=1", None),
        ("GET", "/auth/sessions?limit=1", None),
        ("DELETE", "/auth/sessions", None),
    ):
        assert artist.as_signed_in(method, path, body).is_success, path
    artist.sign_in()
    for path in ("/auth/sessions?limit=1", "/auth/me/activity?limit=1"):
        cursor = artist.as_signed_in("GET", path).json()["next_cursor"]
        assert artist.as_signed_in("GET", f"{path}&cursor={cursor}").json()["data"]
    app.services.revoked_sessions._polled_at = float("-inf")  # noqa: SLF001 - as after a database outage
    assert artist.as_signed_in("GET", "/auth/sessions").json()["data"]
    assert artist.as_signed_in("DELETE", f"/auth/sessions/{artist.tokens['session']['id']}").is_success
    assert artist.refresh().json()["code"] == "refresh_token.revoked"

    fan = Browser(app.http, sendgrid)
    mail = fan.request_mail()
    assert fan.verify(flow_id=fan.flow["flow_id"], code=mail.code).is_success
    assert fan.verify(token=mail.token).json()["code"] == "magic_link.used"
    fan.sign_in()  # replaces the browser's earlier session
    assert fan.refresh().is_success
    assert fan.ask("POST", "/auth/logout", {}).is_success

    thief = Client(app.http, sendgrid).sign_in()
    old = thief.tokens["refresh_token"]
    assert thief.refresh().is_success
    assert thief.refresh().is_success
    assert thief.refresh(old).json()["code"] == "refresh_token.reused"
    thief.sign_in()
    assert thief.as_signed_in("DELETE", "/auth/me").is_success

    guesser = Client(app.http, sendgrid)
    code = guesser.request_mail().code
    wrong = f"{(int(code) + 1) % 10**8:08}"
    for _ in range(6):
        guesser.verify(flow_id=guesser.flow["flow_id"], code=wrong, **guesser.secret())


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """An analyzed database with many rows, on a PostgreSQL that logs statements."""
    settings = statements.LOGGING | {"autovacuum": "off"}  # it would update the statistics at any time
    with databases.own_server(None, **settings) as server:
        assert not databases.make_template(server)
        url = server.url(databases.TEMPLATE)
        # Plans that functions keep from when the tables were empty read all rows, for each new one.
        databases.execute(
            url,
            "SET plan_cache_mode = force_custom_plan",
            ROWS,
            *(feature.rows for feature in feature_fixtures()),
            "ANALYZE",
        )
        yield url


@pytest.fixture(scope="module")
def succeeded() -> set[str]:
    """Operations that were requested with success."""
    return set()


@pytest.fixture(scope="module")
def sent(url: str, shared_sendgrid: SendGrid, storage: Mapping[str, str], succeeded: set[str]) -> list[Statement]:
    """All statements of a server, from requests and from background work up to retention."""

    def note(answer: httpx2.Response) -> None:
        if answer.is_success:
            succeeded.add(f"{answer.request.method} {answer.request.url.path}")

    settings: dict[str, Any] = {name.lower(): value for name, value in storage.items()}
    settings |= {"retention_times": "* * * * * */2", "has_schedules": True}  # every 2 s
    settings["master_review"] = True  # as in production
    with (
        stand_ins.running(start=None) as stand_in,
        apps.running(url, sendgrid_url=shared_sendgrid.url, **settings, **shops.settings_for(stand_in.url)) as app,
    ):
        app.http.event_hooks["response"].append(note)
        use_everything(app, shared_sendgrid)
        for feature in feature_fixtures():
            admin = Client(app.http, shared_sendgrid).sign_in()
            databases.execute(url, f"UPDATE users SET role = 'admin' WHERE id = '{admin.tokens['user']['id']}'")
            feature.use(admin)
        wait_for_background_work(url)
    statements_sent = captured(url)
    for part in READ_ALL:
        assert any(part in str(statement) for statement in statements_sent)
    return [each for each in statements_sent if not any(part in str(each) for part in READ_ALL)]


def captured(url: str) -> list[Statement]:
    return on(url, lambda connection: statements.sent_by(connection, "audifi-api"))


def wait_for_background_work(url: str) -> None:
    deadline = time.monotonic() + 300
    while absent := missing(captured(url)):
        assert time.monotonic() < deadline, absent
        time.sleep(1)  # each look reads PostgreSQL's whole log, which the server's work must not wait for


def missing(sent: list[Statement]) -> list[str]:
    parts = [*BACKGROUND, *(part for feature in feature_fixtures() for part in feature.background)]
    return [part for part in parts if not any(part in str(statement) for statement in sent)]


def on[T](url: str, ask: Callable[[asyncpg.Connection], Awaitable[T]]) -> T:
    async def run() -> T:
        connection = await asyncpg.connect(url)
        try:
            return await ask(connection)
        finally:
            await connection.close()

    return asyncio.run(run())


async def table_scans(connection: asyncpg.Connection, sent: list[Statement]) -> list[str]:
    """Return the statements that scan a whole table, each with its plan."""
    return [
        f"{statement}\n{statements.described(plan)}"
        for statement in sent
        for plan in await statements.plans(connection, statement)
        if statements.read_whole(plan) - set(READ_WHOLE)
    ]


def test_every_operation_was_requested(sent: list[Statement], succeeded: set[str]) -> None:
    """The statements of a new operation are checked only if `use_everything` requests it."""
    assert sent
    operations = {
        (method.upper(), path)
        for path, methods in json.loads((ROOT / "server" / "openapi.json").read_text())["paths"].items()
        for method in methods
    }
    assert not {
        f"{method} {path}"
        for method, path in operations
        if not any(re.fullmatch(f"{method} " + re.sub(r"\{\w+\}", "[^/]+", path), operation) for operation in succeeded)
    }


def test_no_statement_reads_a_whole_table(sent: list[Statement], url: str) -> None:
    scans = on(url, lambda connection: table_scans(connection, sent))

    assert not scans, "\n\n".join(scans)


def test_exceptions_are_needed_and_indexes_are_used(sent: list[Statement], url: str) -> None:
    """An unused index costs each write, and can be dropped."""

    async def explained(connection: asyncpg.Connection) -> list[dict[str, Any]]:
        return [plan for statement in sent for plan in await statements.plans(connection, statement)]

    plans = on(url, explained)
    assert {table for plan in plans for table in statements.read_whole(plan)} == set(READ_WHOLE)
    assert set(OUR_INDEXES) <= {node.get("Index Name") for plan in plans for node in statements.nodes(plan)}


@pytest.mark.parametrize("index", [index for index in OUR_INDEXES if index not in REPLACEABLE])
def test_statement_without_its_index_scans_the_table(sent: list[Statement], url: str, index: str) -> None:
    async def without(connection: asyncpg.Connection) -> list[str]:
        table = await connection.fetchval("SELECT tablename FROM pg_indexes WHERE indexname = $1", index)
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(f"DROP INDEX {index}")
        scans = await table_scans(connection, [statement for statement in sent if table in statement.text])
        await transaction.rollback()
        return scans

    assert on(url, without)
