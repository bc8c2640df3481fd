"""Transactions: commit, rollback, and reuse of connections."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest
from sqlalchemy import Integer, Text, bindparam, column, func, insert, literal_column, select, table, update
from sqlalchemy.dialects.postgresql import aggregate_order_by

from audifi.core.config.settings import DatabaseSettings
from audifi.core.db.database import Database, Transaction
from audifi.core.db.errors import TransactionAbortedError, constraint_name, is_contended, is_pool_exhausted
from audifi.core.db.semaphore import PoolTimeoutError
from audifi.core.db.statements import Statement
from dev.postgres import Postgres
from tests.support import databases
from tests.support.waiting import until, wait_until

MARKS = table("marks", column("name", Text), column("number", Integer))
TABLE = "CREATE TABLE marks (name text CONSTRAINT one_name UNIQUE DEFERRABLE INITIALLY DEFERRED, number int DEFAULT 0)"
ADD = Statement(insert(MARKS).values(name=bindparam("name")).returning(MARKS.c.name))
NAMES = Statement(
    select(func.string_agg(MARKS.c.name, aggregate_order_by(literal_column("' '"), MARKS.c.name)).label("names"))
)
COUNT_UP = Statement(
    update(MARKS).where(MARKS.c.name == bindparam("name_")).values(number=MARKS.c.number + 1).returning(MARKS.c.number)
)
BACKEND = Statement(select(func.pg_backend_pid()))
SLEEP = Statement(select(func.pg_sleep(bindparam("seconds"))))
FAIL = Statement(select(1 / func.abs(bindparam("zero", type_=Integer))))


@dataclass(frozen=True, slots=True)
class Mark:
    name: str


@pytest.fixture
def url(empty_database_url: str) -> str:
    databases.execute(empty_database_url, TABLE)
    return empty_database_url


def with_database[T](url: str, act: Callable[[Database], Awaitable[T]], *, size: int = 1, **settings: Any) -> T:
    async def run() -> T:
        values = DatabaseSettings.model_validate({"database_url": url, **settings})
        async with Database(values, pool_size=size, read_pool_size=1) as database:
            return await act(database)

    return asyncio.run(run())


def test_transaction_is_committed_at_its_end(url: str) -> None:
    async def act(database: Database) -> Any:
        async with database.transaction() as tx:
            assert await tx.fetch_one(ADD, Mark, name="a") == Mark("a")
            await tx.execute_many(ADD, [{"name": "b"}, {"name": "c"}])
            await tx.execute_many(ADD, [])
            assert await tx.execute(COUNT_UP, name_="b") == 1
            assert await asyncio.to_thread(databases.fetch_value, url, "SELECT count(*) FROM marks") == 0
        return await database.fetch_value(NAMES)

    assert with_database(url, act) == "a b c"


def test_copied_rows_belong_to_the_transaction(url: str) -> None:
    async def content(*, fails: bool) -> AsyncIterator[bytes]:
        yield b'"a ""b""",\n'
        if fails:
            raise RuntimeError
        yield b"c,2\n"

    async def act(database: Database) -> Any:
        with pytest.raises(RuntimeError):
            async with database.transaction() as tx:
                await tx.execute(ADD, name="lost")
                await tx.copy("marks", ["name", "number"], content(fails=True))
        async with database.transaction() as tx:
            await tx.copy("marks", ["name", "number"], content(fails=False))
            assert await asyncio.to_thread(databases.fetch_value, url, "SELECT count(*) FROM marks") == 0
        return await database.fetch_value(NAMES)

    assert with_database(url, act) == 'a "b" c'
    assert databases.fetch_value(url, "SELECT number FROM marks WHERE number IS NOT NULL") == 2


def test_copy_whose_connection_is_lost_ends(url: str) -> None:
    """PostgreSQL waits for a lock and reads nothing, so that the driver waits, too."""

    async def content() -> AsyncIterator[bytes]:
        while True:
            yield b"a,1\n" * 100_000

    async def copy(database: Database) -> None:
        async with database.transaction() as tx:
            await tx.copy("marks", ["name", "number"], content())

    with databases.holding(url, "LOCK TABLE marks IN EXCLUSIVE MODE") as waiting, ThreadPoolExecutor(1) as threads:
        copied = threads.submit(with_database, url, copy)
        wait_until(lambda: waiting() == 1)
        sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        databases.execute(url, f"{sql} AND datname = current_database()")
        with pytest.raises((asyncpg.ConnectionDoesNotExistError, asyncpg.AdminShutdownError)):
            copied.result(60)


def test_error_rolls_back_and_keeps_the_connection(url: str) -> None:
    async def act(database: Database) -> Any:
        backends = set()
        for error in (RuntimeError, asyncpg.DivisionByZeroError):
            with pytest.raises(error):
                async with database.transaction() as tx:
                    backends.add(await tx.fetch_value(BACKEND))
                    await tx.execute(ADD, name="lost")
                    if error is RuntimeError:
                        raise RuntimeError
                    await tx.fetch_value(FAIL, zero=0)
        return len(backends), await database.fetch_value(NAMES)

    assert with_database(url, act) == (1, None)


@pytest.mark.parametrize("in_statement", [True, False])
def test_cancelled_transaction_is_rolled_back(url: str, *, in_statement: bool) -> None:
    async def act(database: Database) -> Any:
        reached = asyncio.Event()
        backends = []

        async def work() -> None:
            async with database.transaction() as tx:
                backends.append(await tx.fetch_value(BACKEND))
                await tx.execute(ADD, name="lost")
                reached.set()
                await (tx.fetch_value(SLEEP, seconds=50) if in_statement else asyncio.Event().wait())

        task = asyncio.create_task(work())
        await reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with database.transaction() as tx:
            assert await tx.fetch_value(BACKEND) not in backends
            return await tx.fetch_value(NAMES)

    assert with_database(url, act) is None


def test_statement_that_times_out_costs_the_connection(url: str) -> None:
    async def act(database: Database) -> Any:
        with pytest.raises(TimeoutError):
            async with database.transaction() as tx:
                await tx.execute(ADD, name="lost")
                async with asyncio.timeout(0.1):
                    await tx.fetch_value(SLEEP, seconds=50)
        async with database.transaction() as tx:
            return await tx.fetch_value(NAMES)

    assert with_database(url, act) is None


def test_explicit_commit_survives_a_later_error(url: str) -> None:
    async def act(database: Database) -> Any:
        with pytest.raises(RuntimeError):
            async with database.transaction() as tx:
                await tx.execute(ADD, name="kept")
                await tx.commit()
                await tx.execute(ADD, name="lost")
                raise RuntimeError
        async with database.transaction() as tx:
            await tx.commit()
            await tx.commit()
        return await database.fetch_value(NAMES)

    assert with_database(url, act) == "kept"


def test_callback_runs_after_commit_only(url: str) -> None:
    called: list[str] = []

    async def act(database: Database) -> None:
        async with database.transaction() as tx:
            tx.after_commit(lambda: called.append("first"))
            assert called == []
            await tx.commit()
            assert called == ["first"]
            tx.after_commit(lambda: called.append("second"))
        with pytest.raises(RuntimeError):
            async with database.transaction() as tx:
                tx.after_commit(lambda: called.append("rolled back"))
                raise RuntimeError
        with pytest.raises(asyncpg.UniqueViolationError) as error:
            async with database.transaction() as tx:
                tx.after_commit(lambda: called.append("failed at commit"))
                await tx.execute_many(ADD, [{"name": "twice"}, {"name": "twice"}])
        assert constraint_name(error.value) == "one_name"

    with_database(url, act)
    assert called == ["first", "second"]


def test_commit_after_a_caught_error_raises(url: str) -> None:
    async def act(database: Database) -> Any:
        with pytest.raises(TransactionAbortedError):
            async with database.transaction() as tx:
                await tx.execute(ADD, name="lost")
                with pytest.raises(asyncpg.DivisionByZeroError):
                    await tx.fetch_value(FAIL, zero=0)
        return await database.fetch_value(NAMES)

    assert with_database(url, act) is None


async def commit_in_vain(tx: Transaction) -> None:
    """Have the server roll back at COMMIT, and go on."""
    await tx.execute_many(ADD, [{"name": "twice"}, {"name": "twice"}])
    with pytest.raises(asyncpg.UniqueViolationError):
        await tx.commit()


def test_statements_after_a_failed_commit_are_rolled_back(url: str) -> None:
    async def act(database: Database) -> Any:
        with pytest.raises(RuntimeError):
            async with database.transaction() as tx:
                await commit_in_vain(tx)
                await tx.execute(ADD, name="lost")
                raise RuntimeError
        return await database.fetch_value(NAMES)

    assert with_database(url, act) is None


def test_callback_of_a_failed_commit_never_runs(url: str) -> None:
    called: list[str] = []

    async def act(database: Database) -> Any:
        async with database.transaction() as tx:
            tx.after_commit(lambda: called.append("rolled back"))
            await commit_in_vain(tx)
            await tx.execute(ADD, name="kept")
        return await database.fetch_value(NAMES)

    assert with_database(url, act) == "kept"
    assert called == []


def test_lent_connection_in_a_transaction_is_not_reused(url: str) -> None:
    async def act(database: Database) -> Any:
        async with database.connection() as connection:
            await connection.execute("BEGIN")
            await connection.execute("INSERT INTO marks VALUES ('lost')")
        await database.execute(ADD, name="kept")
        return await database.fetch_value(NAMES)

    assert with_database(url, act) == "kept"


def test_nested_use_is_refused(url: str) -> None:
    async def act(database: Database) -> None:
        uses: list[Callable[[], Awaitable[Any]]] = [
            lambda: database.transaction().__aenter__(),
            lambda: database.fetch_value(NAMES),
            lambda: database.execute(ADD, name="x"),
        ]
        async with database.transaction():
            for use in uses:
                with pytest.raises(RuntimeError, match="a transaction is open here"):
                    await use()
        async with database.transaction():
            pass  # the connection is free again

    with_database(url, act)


def test_two_databases_may_be_used_together(url: str) -> None:
    async def act(database: Database) -> Any:
        settings = DatabaseSettings.model_validate({"database_url": url})
        async with Database(settings, pool_size=1, read_pool_size=1) as other, database.transaction():
            return await other.execute(ADD, name="counted")

    assert with_database(url, act) == 1


def test_exhausted_pool_is_distinguished_from_errors(url: str) -> None:
    async def act(database: Database) -> None:
        entered, done = asyncio.Event(), asyncio.Event()

        async def hold() -> None:
            async with database.transaction():
                entered.set()
                await done.wait()

        holder = asyncio.create_task(hold())
        await entered.wait()
        with pytest.raises(PoolTimeoutError) as error:
            await database.execute(ADD, name="x")
        assert is_pool_exhausted(error.value)
        assert is_contended(error.value)
        done.set()
        await holder
        assert await database.execute(ADD, name="x") == 1

    with_database(url, act, database_pool_timeout_seconds=0.05)


def test_deadlock_is_retried(url: str) -> None:
    """Two transactions lock two rows in opposite order."""
    databases.execute(url, "INSERT INTO marks VALUES ('a'), ('b')")

    async def act(database: Database) -> Any:
        both_locked = asyncio.Barrier(2)
        tries = 0

        async def lock(first: str, second: str) -> None:
            is_first_try = True

            async def work(tx: Transaction) -> None:
                nonlocal tries, is_first_try
                tries += 1
                await tx.execute(COUNT_UP, name_=first)
                if is_first_try:
                    is_first_try = False
                    await both_locked.wait()
                await tx.execute(COUNT_UP, name_=second)

            await database.run(work)

        await asyncio.gather(lock("a", "b"), lock("b", "a"))
        return tries

    assert 3 <= with_database(url, act, size=2) <= 6
    assert databases.fetch_value(url, "SELECT sum(number) FROM marks") == 4


def test_row_that_should_be_there_and_is_not_is_a_bug(url: str) -> None:
    nothing = Statement(select(MARKS.c.name).where(MARKS.c.name == "b"))

    async def act(database: Database) -> None:
        assert (await database.write_row(ADD, Mark, name="a")).name == "a"
        with pytest.raises(LookupError):
            await database.fetch_row(nothing, Mark)
        async with database.transaction() as tx:
            with pytest.raises(LookupError):
                await tx.fetch_row(nothing, Mark)

    with_database(url, act)


def test_single_statement_is_run_again_after_a_deadlock(url: str) -> None:
    databases.execute(
        url,
        "CREATE FUNCTION conflict_once() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF nextval('tries') = 1 THEN RAISE EXCEPTION 'deadlock' USING ERRCODE = '40P01'; END IF; RETURN NEW; END $$",
        "CREATE SEQUENCE tries",
        "CREATE TRIGGER conflict BEFORE INSERT ON marks FOR EACH ROW EXECUTE FUNCTION conflict_once()",
    )
    counted: list[tuple[str, str]] = []

    async def act(database: Database) -> None:
        database.on_event = lambda measure, label: counted.append((measure.name, label))
        await database.write_all(ADD, Mark, name="a")

    with_database(url, act)
    assert counted == [("database_conflicts", "deadlock")]
    assert databases.fetch_value(url, "SELECT count(*) FROM marks") == 1


def test_transaction_that_has_committed_is_not_retried(url: str) -> None:
    tries = 0

    async def act(database: Database) -> None:
        async def work(tx: Transaction) -> None:
            nonlocal tries
            tries += 1
            await tx.execute(ADD, name=f"kept {tries}")
            await tx.commit()
            raise asyncpg.DeadlockDetectedError

        with pytest.raises(asyncpg.DeadlockDetectedError):
            await database.run(work)

    with_database(url, act)
    assert databases.fetch_value(url, "SELECT count(*) FROM marks") == tries == 1


def test_other_errors_are_not_retried(url: str) -> None:
    tries = 0

    async def act(database: Database) -> None:
        async def work(tx: Transaction) -> None:
            nonlocal tries
            tries += 1
            await tx.fetch_value(FAIL, zero=0)

        with pytest.raises(asyncpg.DivisionByZeroError):
            await database.run(work)

    with_database(url, act)
    assert tries == 1


def test_single_statement_writes_and_is_atomic(url: str) -> None:
    async def act(database: Database) -> Any:
        assert await database.write_one(ADD, Mark, name="a") == Mark("a")
        with pytest.raises(asyncpg.UniqueViolationError):
            await database.write_one(ADD, Mark, name="a")
        assert await database.write_all(ADD, Mark, name="b") == [Mark("b")]
        return await database.fetch_value(NAMES)

    assert with_database(url, act) == "a b"


def test_connection_ended_while_idle_fails_no_transaction(own_postgres: Postgres) -> None:
    end_others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'audifi-api'"

    async def act(database: Database) -> int:
        backends = set()
        with ThreadPoolExecutor(1) as thread:
            for _ in range(20):
                async with database.transaction() as tx:
                    backends.add(await tx.fetch_value(BACKEND))
                # The blocked loop can't see the socket close.
                thread.submit(databases.execute, own_postgres.url(), end_others).result()
        return len(backends)

    assert with_database(own_postgres.url(), act) == 20


def test_wait_of_each_task_is_reported(url: str) -> None:
    waits: list[str] = []

    async def run() -> None:
        settings = DatabaseSettings.model_validate({"database_url": url})
        async with Database(
            settings, pool_size=1, read_pool_size=1, on_wait=lambda pool, _seconds: waits.append(pool)
        ) as database:
            await database.execute(ADD, name="a")
            await database.fetch_value(NAMES)
            transactions, reads = database.pools
            assert (transactions.idle, transactions.in_use, reads.idle, reads.in_use) == (1, 0, 1, 0)

    asyncio.run(run())
    assert waits == ["transactions", "reads"]


def test_connection_in_use_at_close_is_ended_later(url: str) -> None:
    async def act(database: Database) -> None:
        async with database.transaction():
            await database.close()
        assert database.pools[0].idle == 0
        await until(lambda: databases_has_no_client(url))

    with_database(url, act)


def databases_has_no_client(url: str) -> bool:
    with ThreadPoolExecutor(1) as thread:
        query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'audifi-api'"
        query += " AND datname = current_database()"
        return thread.submit(databases.fetch_value, url, query).result() == 0
