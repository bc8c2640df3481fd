"""In-memory counters and their replication. tests/core/http/test_rate_limits.py has the limits over HTTP."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from audifi.core.db.database import Database
from audifi.core.rate_limiting import approximate
from audifi.core.rate_limiting.approximate import ApproximateRateLimiter, ReplicatedCounters
from audifi.core.rate_limiting.limits import CounterKeys, Limit
from tests.support import databases
from tests.support.waiting import until, wait_until

NOW = datetime(
    2100, 1, 1, 12, 0, 30, tzinfo=UTC
).timestamp()  # in the future, so that retention doesn't delete the counters
LIMIT = Limit("requests", 100, per=timedelta(minutes=1))
KEYS = CounterKeys(SecretStr("s" * 32))


def create_machine(database: Database, *, max_counters: int = 100) -> ReplicatedCounters:
    return ReplicatedCounters(database, KEYS, max_counters=max_counters)


def count(machine: ReplicatedCounters, times: int = 1, *, subject: str = "a", now: float = NOW) -> int:
    return [machine.increment(LIMIT, subject, now=now).count for _ in range(times)][-1]


def run(url: str, work: Callable[[Database], Awaitable[None]]) -> None:
    async def with_database() -> None:
        async with databases.connect_pools(url) as database:
            await work(database)

    asyncio.run(with_database())


def test_counts_are_shared_once(migrated_database_url: str) -> None:
    async def work(database: Database) -> None:
        first, second = create_machine(database), create_machine(database)
        count(first, 3)
        count(second)
        await first.share(now=NOW)
        await first.share(now=NOW)
        await second.share(now=NOW)
        assert count(second) == 5
        await second.share(now=NOW)
        count(first)
        await first.share(now=NOW)
        assert (count(first), count(second)) == (7, 6)

    run(migrated_database_url, work)


def test_subjects_and_limits_are_shared_apart(migrated_database_url: str) -> None:
    async def work(database: Database) -> None:
        first, second = create_machine(database), create_machine(database)
        other = Limit("others", 100, per=timedelta(minutes=1))
        for machine in (first, second):
            count(machine, 5, subject="a")
            count(machine, 2, subject="b")
            machine.increment(other, "a", now=NOW)
            await machine.share(now=NOW)
        assert (count(second, subject="a"), count(second, subject="b")) == (11, 5)
        assert second.increment(other, "a", now=NOW).count == 3

    run(migrated_database_url, work)


def test_requests_during_a_share_are_counted(migrated_database_url: str) -> None:
    async def work(database: Database) -> None:
        first, second = create_machine(database), create_machine(database)
        counted = count(first)
        sharing = asyncio.create_task(first.share(now=NOW))
        while not sharing.done():
            counted = count(first)
            await asyncio.sleep(0)
        assert counted > 1
        await first.share(now=NOW)
        count(second)
        await second.share(now=NOW)
        assert (count(first), count(second)) == (counted + 1, counted + 2)

    run(migrated_database_url, work)


def test_counts_of_a_failed_share_are_shared_later(migrated_database_url: str) -> None:
    async def rename(table: str, name: str) -> None:
        await asyncio.to_thread(databases.execute, migrated_database_url, f"ALTER TABLE {table} RENAME TO {name}")

    async def work(database: Database) -> None:
        first, second = create_machine(database), create_machine(database)
        count(first)
        await rename("rate_limit_counters", "elsewhere")
        with pytest.raises(Exception, match="rate_limit_counters"):
            await first.share(now=NOW)
        await rename("elsewhere", "rate_limit_counters")
        count(first)
        await first.share(now=NOW)
        count(second)
        await second.share(now=NOW)
        assert count(second) == 4

    run(migrated_database_url, work)


def test_total_of_an_ended_window_starts_anew(migrated_database_url: str) -> None:
    async def work(database: Database) -> None:
        first, second = create_machine(database), create_machine(database)
        count(first, 7)
        await first.share(now=NOW)
        count(second, 2, now=NOW + 60)
        await second.share(now=NOW + 60)
        assert count(second, now=NOW + 60) == 3

    run(migrated_database_url, work)


def test_limiter_shares_again_after_a_failure(
    migrated_database_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(approximate, "SHARE_SECONDS", 0)
    caplog.set_level(logging.INFO)

    def rename(table: str, name: str) -> None:
        databases.execute(migrated_database_url, f"ALTER TABLE {table} RENAME TO {name}")

    def is_shared() -> bool:
        return databases.fetch_value(migrated_database_url, "SELECT sum(count) FROM rate_limit_counters") == 1

    async def work(database: Database) -> None:
        now = datetime(2100, 1, 1, tzinfo=UTC)
        limiter = ApproximateRateLimiter(create_machine(database), lambda: now, per_client=LIMIT, per_account=LIMIT)
        await asyncio.to_thread(rename, "rate_limit_counters", "elsewhere")
        limiter.hit(LIMIT, "a")
        sharing = asyncio.create_task(limiter.run())
        await until(lambda: "using local counts: error=UndefinedTableError" in caplog.text)
        await asyncio.to_thread(rename, "elsewhere", "rate_limit_counters")
        await asyncio.to_thread(wait_until, is_shared)
        await until(lambda: "rate limit sync works again" in caplog.messages)
        sharing.cancel()

    run(migrated_database_url, work)
    assert len(caplog.messages) == 2


def test_database_holds_no_subject(migrated_database_url: str) -> None:
    async def work(database: Database) -> None:
        machine = create_machine(database)
        count(machine, subject="203.0.113.7/32")
        await machine.share(now=NOW)

    run(migrated_database_url, work)
    rows = "SELECT string_agg(c::text, ' ') FROM rate_limit_counters AS c"
    stored = str(databases.fetch_value(migrated_database_url, rows))
    assert "2100-01-01" in stored
    assert "203.0" not in stored


@pytest.fixture
def unused_database() -> Database:
    return databases.connect_pools("postgres://nobody@localhost/nothing")


def test_full_table_counts_known_subjects_only(unused_database: Database) -> None:
    machine = create_machine(unused_database, max_counters=10)
    for number in range(20):
        count(machine, subject=f"{number}")

    assert [count(machine, subject=f"{number}") for number in (0, 9, 10, 19)] == [2, 2, 1, 1]


def test_ended_windows_make_room_in_the_table(unused_database: Database) -> None:
    machine = create_machine(unused_database, max_counters=10)
    for number in range(10):
        count(machine, subject=f"{number}")
    asyncio.run(machine.share(now=NOW + 60))

    assert count(machine, 2, subject="new", now=NOW + 60) == 2


@given(hits=st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 90)), max_size=40))
def test_windows_begin_with_the_minute(hits: list[tuple[str, int]]) -> None:
    """For any requests of three subjects, with the seconds between them."""
    database = databases.connect_pools("postgres://nobody@localhost/nothing")
    machine = create_machine(database)
    expected: dict[tuple[str, int], int] = {}
    instant = 0
    for subject, seconds in hits:
        instant += seconds
        window = (subject, instant // 60)
        expected[window] = expected.get(window, 0) + 1
        counter = machine.increment(LIMIT, subject, now=instant)
        assert (counter.count, counter.expires_at) == (expected[window], (instant // 60 + 1) * 60)
