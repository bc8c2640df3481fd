"""Retention: expired rows are deleted, others are kept."""

import asyncio
from datetime import UTC, datetime

import pytest

from audifi.auth import jobs as auth_jobs
from audifi.core.db import retention
from audifi.core.db.retention import delete_expired
from audifi.core.jobs.queue import expired_jobs
from audifi.core.rate_limiting.retention import expired_counters
from tests.support import databases

USER = "'01900000-0000-7000-8000-000000000000'"
FLOW = """
    INSERT INTO sign_in_flows
        (id, email, email_key, token_hash, code_hash, flow_hash, delivery, created_at, expires_at)
    SELECT gen_random_uuid(), 'a@b.c', 'a@b.c', sha256(random()::text::bytea), '', '', 'body', now(), now() {}
    FROM generate_series(1, {})
"""
SESSION = """
    INSERT INTO sessions (id, user_id, refresh_nonce, rotated_at, auth_time, amr, created_at, last_used_at,
        idle_expires_at, absolute_expires_at, revoked_at, revoked_reason)
    SELECT gen_random_uuid(), {user}, '', now(), now(), '{{}}', now(), now(),
        now() {idle}, now() + interval '30 days', {revoked}, {reason}
"""


def session(idle: str, revoked: str | None = None) -> str:
    return SESSION.format(
        user=USER,
        idle=idle,
        revoked=f"now() {revoked}" if revoked else "NULL",
        reason="'signed_out'" if revoked else "NULL",
    )


def add_old_and_new(url: str) -> None:
    """Insert one row of each kind to keep and one to delete."""
    databases.execute(
        url,
        f"INSERT INTO users (id, email, email_key, created_at) VALUES ({USER}, 'a@b.c', 'a@b.c', now())",
        FLOW.format("- interval '23 hours'", 1),
        FLOW.format("- interval '25 hours'", 1),
        session("+ interval '1 day'"),
        session("- interval '31 days'"),
        session("+ interval '1 day'", "- interval '29 days'"),
        session("+ interval '1 day'", "- interval '31 days'"),
        "INSERT INTO rate_limit_counters VALUES ('stays', 1, now() + interval '1 min'), ('goes', 1, now())",
        f"INSERT INTO auth_events (id, event, user_id, created_at) VALUES"
        f" (gen_random_uuid(), 'user.created', {USER}, now() - interval '365 days'),"
        f" (gen_random_uuid(), 'user.created', {USER}, now() - interval '367 days')",
        "INSERT INTO pgqueuer (priority, status, entrypoint, updated) VALUES"
        " (0, 'failed', 'stays', now()), (0, 'failed', 'goes', now() - interval '31 days'),"
        " (0, 'queued', 'stays, too', now() - interval '31 days')",
        "INSERT INTO pgqueuer_log (job_id, status, priority, entrypoint, created) VALUES"
        " (1, 'successful', 0, 'stays', now()), (1, 'successful', 0, 'goes', now() - interval '31 days')",
    )


async def delete(url: str, machines: int = 1) -> list[dict[str, int]]:
    now = datetime.now(UTC)
    expired = [*expired_counters(now), *expired_jobs(now), *auth_jobs.expired(now)]
    async with databases.connect_pools(url) as database:
        return await asyncio.gather(*(delete_expired(database, expired) for _ in range(machines)))


def test_expired_rows_are_deleted_and_others_kept(migrated_database_url: str) -> None:
    add_old_and_new(migrated_database_url)

    assert asyncio.run(delete(migrated_database_url)) == [
        {
            "rate_limit_counters": 1,
            "pgqueuer": 1,
            "pgqueuer_log": 1,
            "sign_in_flows": 1,
            "sessions": 2,
            "auth_events": 1,
        }
    ]
    assert set(asyncio.run(delete(migrated_database_url))[0].values()) == {0}
    counts = {"sign_in_flows": 1, "sessions": 2, "rate_limit_counters": 1, "auth_events": 1, "pgqueuer": 2}
    for table, count in counts.items():
        assert databases.fetch_value(migrated_database_url, f"SELECT count(*) FROM {table}") == count
    assert "goes" not in str(
        databases.fetch_value(migrated_database_url, "SELECT string_agg(entrypoint, ' ') FROM pgqueuer")
    )


def test_run_is_bounded_and_the_next_continues(migrated_database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "BATCH_ROWS", 10)
    monkeypatch.setattr(retention, "MAX_BATCHES", 3)
    databases.execute(migrated_database_url, FLOW.format("- interval '2 days'", 50))

    deleted = [asyncio.run(delete(migrated_database_url))[0]["sign_in_flows"] for _ in range(3)]
    assert deleted == [30, 20, 0]


def test_machines_share_the_work(migrated_database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "BATCH_ROWS", 50)
    databases.execute(migrated_database_url, FLOW.format("- interval '2 days'", 300))

    runs = asyncio.run(delete(migrated_database_url, machines=3))
    assert sum(run["sign_in_flows"] for run in runs) == 300
