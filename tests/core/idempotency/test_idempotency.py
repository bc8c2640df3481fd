"""Requests with an `Idempotency-Key` have their effect once."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Integer, bindparam, column, func, insert, select, table

from audifi.core.config.settings import DatabaseSettings
from audifi.core.db.database import Database, Transaction
from audifi.core.db.retention import delete_expired
from audifi.core.db.statements import Statement
from audifi.core.http.problems import Problem
from audifi.core.idempotency.service import KEPT_FOR, StoredResponse, expired_keys, fingerprint, parse_key, run_once
from tests.support import databases

EFFECTS = table("effects", column("number", Integer))
ADD = Statement(insert(EFFECTS).values(number=bindparam("number")))
SUM = Statement(select(func.coalesce(func.sum(EFFECTS.c.number), 0)))
NOW = datetime(2026, 5, 1, tzinfo=UTC)
ANA, BEN = uuid4(), uuid4()
REQUEST = fingerprint(b"POST", b"/things", b"{}")


def with_database[T](url: str, act: Callable[[Database], Awaitable[T]]) -> T:
    databases.execute(url, "CREATE TABLE effects (number int)")

    async def run() -> T:
        settings = DatabaseSettings.model_validate({"database_url": url})
        async with Database(settings, pool_size=3, read_pool_size=1) as database:
            return await act(database)

    return asyncio.run(run())


async def add_one(transaction: Transaction) -> tuple[int, bytes]:
    await transaction.execute(ADD, number=1)
    return 201, b'{"made": 1}'


async def send(
    database: Database,
    *,
    user_id: UUID = ANA,
    key: str = "k",
    request: bytes = REQUEST,
    now: datetime = NOW,
    effect: Callable[[Transaction], Awaitable[tuple[int, bytes]]] = add_one,
) -> StoredResponse:
    return await run_once(database, user_id=user_id, key=key, request=request, now=now, effect=effect)


async def code_of(sending: Awaitable[Any]) -> str:
    with pytest.raises(Problem) as raised:
        await sending
    return f"{raised.value.status} {raised.value.code}"


def test_retry_gets_the_first_answer_and_no_second_effect(migrated_database_url: str) -> None:
    async def act(database: Database) -> Any:
        first, retry = await send(database), await send(database)
        assert (first.status, first.body, first.is_replay) == (201, b'{"made": 1}', False)
        assert (retry.status, retry.body, retry.is_replay) == (201, b'{"made": 1}', True)
        return await database.fetch_value(SUM)

    assert with_database(migrated_database_url, act) == 1


def test_keys_of_two_accounts_are_independent(migrated_database_url: str) -> None:
    async def act(database: Database) -> Any:
        for user_id in (ANA, BEN):
            assert not (await send(database, user_id=user_id)).is_replay
        assert not (await send(database, key="another")).is_replay
        return await database.fetch_value(SUM)

    assert with_database(migrated_database_url, act) == 3


def test_key_of_another_request_is_refused(migrated_database_url: str) -> None:
    async def act(database: Database) -> Any:
        await send(database)
        another = fingerprint(b"POST", b"/things", b'{"a": 1}')
        assert await code_of(send(database, request=another)) == "422 idempotency_key.reused"
        return await database.fetch_value(SUM)

    assert with_database(migrated_database_url, act) == 1


def test_refusal_stores_nothing(migrated_database_url: str) -> None:
    async def refuse(transaction: Transaction) -> tuple[int, bytes]:
        await add_one(transaction)
        raise Problem(409, "balance.insufficient", "Insufficient balance")

    async def act(database: Database) -> Any:
        assert await code_of(send(database, effect=refuse)) == "409 balance.insufficient"
        assert await database.fetch_value(SUM) == 0
        corrected = fingerprint(b"POST", b"/things", b'{"corrected": 1}')
        assert not (await send(database, request=corrected)).is_replay
        return await database.fetch_value(SUM)

    assert with_database(migrated_database_url, act) == 1


def test_second_request_is_refused_while_the_first_runs(migrated_database_url: str) -> None:
    async def act(database: Database) -> Any:
        started, go_on = asyncio.Event(), asyncio.Event()

        async def wait(transaction: Transaction) -> tuple[int, bytes]:
            started.set()
            await go_on.wait()
            return await add_one(transaction)

        first = asyncio.create_task(send(database, effect=wait))
        await started.wait()
        assert await code_of(send(database)) == "409 idempotency_key.in_progress"
        go_on.set()
        assert not (await first).is_replay
        assert (await send(database)).is_replay
        return await database.fetch_value(SUM)

    assert with_database(migrated_database_url, act) == 1


def test_many_at_once_have_one_effect(migrated_database_url: str) -> None:
    async def act(database: Database) -> Any:
        results = await asyncio.gather(*(send(database) for _ in range(20)), return_exceptions=True)
        answers = [each for each in results if isinstance(each, StoredResponse)]
        problems = [each for each in results if not isinstance(each, StoredResponse)]
        assert sum(not answer.is_replay for answer in answers) == 1
        assert {getattr(problem, "code", problem) for problem in problems} <= {"idempotency_key.in_progress"}
        return await database.fetch_value(SUM)

    assert with_database(migrated_database_url, act) == 1


def test_answer_committed_after_the_snapshot_is_replayed(migrated_database_url: str) -> None:
    """The lock is free, the row invisible: the primary key refuses the effect, and the retry finds the row."""

    async def act(database: Database) -> Any:
        tries = 0

        async def overtaken(transaction: Transaction) -> tuple[int, bytes]:
            nonlocal tries
            tries += 1
            key_id = hashlib.sha256(ANA.bytes + b"k").hexdigest()
            values = f"('\\x{key_id}', '\\x{REQUEST.hex()}', 201, '{{}}', now())"
            await asyncio.to_thread(
                databases.execute,
                migrated_database_url,
                f"INSERT INTO idempotency_keys VALUES {values}",
            )
            return await add_one(transaction)

        answer = await send(database, effect=overtaken)
        assert (answer.body, answer.is_replay, tries) == (b"{}", True, 1)
        return await database.fetch_value(SUM)

    assert with_database(migrated_database_url, act) == 0


def test_refusal_caused_by_the_first_request_is_replayed(migrated_database_url: str) -> None:
    """The first request committed after the second one's snapshot, and its effect leaves no room for a second one."""

    async def act(database: Database) -> Any:
        async def overtaken(_transaction: Transaction) -> tuple[int, bytes]:
            key_id = hashlib.sha256(ANA.bytes + b"k").hexdigest()
            values = f"('\\x{key_id}', '\\x{REQUEST.hex()}', 201, '{{}}', now())"
            await asyncio.to_thread(
                databases.execute,
                migrated_database_url,
                f"INSERT INTO idempotency_keys VALUES {values}",
            )
            raise Problem(409, "balance.insufficient", "Insufficient balance")

        answer = await send(database, effect=overtaken)
        return answer.body, answer.is_replay

    assert with_database(migrated_database_url, act) == (b"{}", True)


def test_effect_must_not_commit(migrated_database_url: str) -> None:
    async def act(database: Database) -> Any:
        async def commit(transaction: Transaction) -> tuple[int, bytes]:
            answer = await add_one(transaction)
            await transaction.commit()
            return answer

        with pytest.raises(RuntimeError, match="committed at its end"):
            await send(database, effect=commit)
        return await database.fetch_value(SUM)

    assert with_database(migrated_database_url, act) == 0


def test_keys_are_deleted_after_thirty_days(migrated_database_url: str) -> None:
    async def act(database: Database) -> Any:
        await send(database, key="old", now=NOW)
        await send(database, key="new", now=NOW + KEPT_FOR)
        await delete_expired(database, [expired_keys(NOW + KEPT_FOR + (KEPT_FOR / 2))])
        return (await send(database, key="old")).is_replay, (await send(database, key="new")).is_replay

    assert with_database(migrated_database_url, act) == (False, True)


@pytest.mark.parametrize(
    ("header", "key"),
    [("6f1c9f0e-9a57", "6f1c9f0e-9a57"), ('"6f1c"', "6f1c"), ("a.b_c:d", "a.b_c:d"), ("x" * 255,) * 2],
)
def test_key_may_be_quoted(header: str, key: str) -> None:
    assert parse_key(header) == key


@pytest.mark.parametrize("header", ["", '""', "a b", "é", "x" * 256, '"a', "a;b", "a\n"])
def test_malformed_key_is_refused(header: str) -> None:
    with pytest.raises(Problem, match=r"400 idempotency_key\.invalid"):
        parse_key(header)


def test_missing_key_is_refused() -> None:
    with pytest.raises(Problem, match=r"400 idempotency_key\.missing"):
        parse_key(None)


def test_fingerprint_separates_its_parts() -> None:
    assert fingerprint(b"ab", b"c") != fingerprint(b"a", b"bc")
