"""The batched check of sessions and accounts: results aren't mixed up, and errors don't spread."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from uuid6 import uuid7

from audifi.auth.session_checks import CheckedUser, SessionChecks
from audifi.core.db.database import Database
from audifi.core.db.statements import Statement
from dev.postgres import Postgres
from tests.support import databases

NOW = datetime(2100, 1, 1, tzinfo=UTC)
STATES = ("live", "revoked", "expired", "disabled", "deleted", "unknown")
ACCOUNTS = [(uuid7(), uuid7(), state) for state in STATES for _ in range(3)]
"""User id, session id, and their state."""


def insert_accounts(url: str) -> None:
    statements = []
    for user_id, session_id, state in ACCOUNTS:
        if state == "unknown":
            continue
        disabled = "now()" if state == "disabled" else "NULL"
        deleted = "now()" if state == "deleted" else "NULL"
        revoked = "now(), 'signed_out'" if state == "revoked" else "NULL, NULL"
        idle = NOW - timedelta(seconds=1) if state == "expired" else NOW + timedelta(days=1)
        statements.append(
            f"""INSERT INTO users (id, email, email_key, created_at, disabled_at, deleted_at)
                VALUES ('{user_id}', '{user_id}@x', '{user_id}@x', now(), {disabled}, {deleted});
                INSERT INTO sessions (id, user_id, refresh_nonce, rotated_at, auth_time, amr, created_at, last_used_at,
                    idle_expires_at, absolute_expires_at, revoked_at, revoked_reason)
                VALUES ('{session_id}', '{user_id}', '', now(), now(), '{{}}', now(), now(),
                    '{idle}', '{NOW + timedelta(days=30)}', {revoked})"""
        )
    databases.execute(url, *statements)


@pytest.fixture(scope="module")
def url(postgres_server: Postgres) -> str:
    """A separate database: deleted accounts with sessions violate an invariant."""
    url = databases.create_database(postgres_server, databases.TEMPLATE)
    insert_accounts(url)
    return url


class WatchedDatabase(Database):
    """Records the sizes of batches; can delay a batch or make it fail."""

    def __init__(self, url: str) -> None:
        values = databases.settings_for(url)
        super().__init__(values, pool_size=1, read_pool_size=2)
        self.batches: list[int] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: Exception | None = None

    async def fetch_all[Row](self, statement: Statement, row_type: type[Row], /, **values: Any) -> list[Row]:
        self.batches.append(len(values["session_ids"]))
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return await super().fetch_all(statement, row_type, **values)


def with_checks[T](
    url: str, act: Callable[[SessionChecks, WatchedDatabase], Awaitable[T]], *, max_batch: int = 500
) -> T:
    async def run() -> T:
        async with WatchedDatabase(url) as database:
            return await act(SessionChecks(database, max_batch=max_batch), database)

    return asyncio.run(run())


async def ask(checks: SessionChecks, user_id: UUID, session_id: UUID) -> CheckedUser | None:
    return await checks.check(session_id=session_id, user_id=user_id, now=NOW)


@given(
    requests=st.lists(
        st.tuples(st.sampled_from(ACCOUNTS), st.sampled_from(ACCOUNTS), st.integers(0, 3)), min_size=1, max_size=40
    ),
    max_batch=st.integers(1, 8),
)
@settings(max_examples=25)
def test_each_request_gets_its_own_account(
    url: str, requests: list[tuple[tuple[UUID, UUID, str], tuple[UUID, UUID, str], int]], max_batch: int
) -> None:
    """With sessions in all states and mismatched users, at different moments."""

    async def act(checks: SessionChecks, database: WatchedDatabase) -> None:
        async def request(user: tuple[UUID, UUID, str], session: tuple[UUID, UUID, str], turns: int) -> None:
            for _ in range(turns):
                await asyncio.sleep(0)
            checked = await ask(checks, user[0], session[1])
            if user is session and user[2] == "live":
                assert checked is not None
                assert (checked.id, checked.session_id, checked.email) == (user[0], user[1], f"{user[0]}@x")
            else:
                assert checked is None

        await asyncio.gather(*(request(*each) for each in requests))
        assert sum(database.batches) == len(requests)
        assert max(database.batches) <= max_batch

    with_checks(url, act, max_batch=max_batch)


def test_only_active_sessions_of_active_accounts_pass(url: str) -> None:
    async def act(checks: SessionChecks, _: WatchedDatabase) -> list[str]:
        users = await asyncio.gather(*(ask(checks, user_id, session_id) for user_id, session_id, _ in ACCOUNTS))
        return [state for user, (*_, state) in zip(users, ACCOUNTS, strict=True) if user is not None]

    assert with_checks(url, act) == ["live"] * 3


LIVE = [account[:2] for account in ACCOUNTS if account[2] == "live"]


def test_checks_that_arrive_during_a_batch_share_the_next(url: str) -> None:
    async def act(checks: SessionChecks, database: WatchedDatabase) -> list[int]:
        database.gate.clear()
        first = asyncio.create_task(ask(checks, *LIVE[0]))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert database.batches == [1]
        others = [asyncio.create_task(ask(checks, *LIVE[number % 3])) for number in range(10)]
        await asyncio.sleep(0)
        database.gate.set()
        await asyncio.gather(first, *others)
        await ask(checks, *LIVE[0])
        return database.batches

    assert with_checks(url, act) == [1, 10, 1]


def test_error_fails_the_whole_batch_only(url: str) -> None:
    async def act(checks: SessionChecks, database: WatchedDatabase) -> None:
        database.error = asyncpg.ConnectionDoesNotExistError("gone")
        results = await asyncio.gather(*(ask(checks, *account) for account in LIVE), return_exceptions=True)
        assert {type(result) for result in results} == {asyncpg.ConnectionDoesNotExistError}
        database.error = None
        assert await ask(checks, *LIVE[0]) is not None

    with_checks(url, act)


@pytest.mark.parametrize("cancelled", [0, 1])
def test_cancelled_request_does_not_affect_others(url: str, cancelled: int) -> None:
    async def act(checks: SessionChecks, database: WatchedDatabase) -> None:
        database.gate.clear()
        tasks = [asyncio.create_task(ask(checks, *account)) for account in LIVE]
        await asyncio.sleep(0)
        tasks[cancelled].cancel()
        await asyncio.sleep(0)
        database.gate.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        for number, (result, account) in enumerate(zip(results, LIVE, strict=True)):
            if number == cancelled:
                assert isinstance(result, asyncio.CancelledError)
            else:
                assert isinstance(result, CheckedUser)
                assert result.id == account[0]

    with_checks(url, act)


def test_cancelled_request_leaves_a_failed_batch_to_others(url: str) -> None:
    async def act(checks: SessionChecks, database: WatchedDatabase) -> None:
        database.gate.clear()
        database.error = asyncpg.ConnectionDoesNotExistError("gone")
        tasks = [asyncio.create_task(ask(checks, *account)) for account in LIVE[:2]]
        await asyncio.sleep(0)
        tasks[0].cancel()
        await asyncio.sleep(0)
        database.gate.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(result) for result in results] == [asyncio.CancelledError, asyncpg.ConnectionDoesNotExistError]

    with_checks(url, act)


def test_check_inside_a_transaction_of_a_request_works(url: str) -> None:
    """The batch runs outside the request's context, so it isn't refused as nested use."""

    async def act(checks: SessionChecks, database: WatchedDatabase) -> CheckedUser | None:
        async with database.transaction():
            return await ask(checks, *LIVE[0])

    assert with_checks(url, act) is not None
