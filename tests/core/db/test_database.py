"""Reads: fair queueing, reuse of connections, and lost connections."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import asyncpg
import pytest
from sqlalchemy import bindparam, func, select

from audifi.core.config.settings import DatabaseSettings
from audifi.core.db.database import Database
from audifi.core.db.errors import is_contended, is_read_only, is_unavailable
from audifi.core.db.statements import Statement
from dev.postgres import Postgres
from tests.support import databases

END_OTHERS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = 'postgres'"
)


def test_read_whose_connection_ends_is_retried_or_unavailable(own_postgres: Postgres) -> None:
    url = own_postgres.url()
    backends: set[int] = set()
    errors: list[Exception] = []

    async def read_for_ever(database: Database) -> None:
        while True:
            try:
                backends.add(await backend(database))
            except Exception as error:  # noqa: BLE001 - classified below
                errors.append(error)
            await asyncio.sleep(0.002)

    async def read_while_they_are_ended() -> None:
        async with database_for(url) as database:
            readers = [asyncio.create_task(read_for_ever(database)) for _ in range(12)]
            for _ in range(20):
                await asyncio.sleep(0.1)
                await asyncio.to_thread(databases.execute, url, END_OTHERS)
            for reader in readers:
                reader.cancel()
            await asyncio.gather(*readers, return_exceptions=True)

    asyncio.run(read_while_they_are_ended())

    assert len(backends) > 20, "no connection was ended"
    assert {repr(error) for error in errors if not is_unavailable(error)} == set()


SLEEP = Statement(select(func.pg_sleep(bindparam("seconds"))))
BACKEND = Statement(select(func.pg_backend_pid()))


def database_for(url: str, size: int = 5, **settings: Any) -> Database:
    values = DatabaseSettings.model_validate({"database_url": url, **settings})
    return Database(values, pool_size=1, read_pool_size=size)


def with_database[Result](
    url: str, act: Callable[[Database], Awaitable[Result]], size: int = 1, **settings: Any
) -> Result:
    async def run() -> Result:
        async with database_for(url, size, **settings) as database:
            return await act(database)

    return asyncio.run(run())


async def backend(database: Database) -> int:
    return int(await database.fetch_value(BACKEND))


def test_reads_are_served_in_the_order_of_their_arrival(database_url: str) -> None:
    async def act(database: Database) -> list[int]:
        served: list[int] = []

        async def read(number: int, again: int) -> None:
            await backend(database)
            served.append(number)
            if again:
                await read(number, again - 1)  # immediately, while the woken task hasn't run yet

        await asyncio.gather(*(read(number, again=9) for number in range(5)))
        return served

    assert with_database(database_url, act) == [0, 1, 2, 3, 4] * 10


def test_exhausted_pool_is_contention(database_url: str) -> None:
    async def act(database: Database) -> None:
        async with database.pools[1].semaphore:
            with pytest.raises(Exception, match="in use") as error:
                await backend(database)
        assert is_contended(error.value)
        assert await backend(database), "the next one gets it"

    with_database(database_url, act, database_pool_timeout_seconds=0.1)


def test_connection_is_reused_until_it_is_too_old(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def act(database: Database) -> list[int]:
        backends = []
        for seconds in (0, 0, 599, 600):
            monkeypatch.setattr("audifi.core.db.pool.monotonic", lambda seconds=seconds: seconds)
            backends.append(await backend(database))
        return backends

    first, again, once_more, later = with_database(database_url, act, database_pool_recycle_seconds=600)

    assert first == again == once_more != later


def test_connection_of_a_cancelled_read_is_not_reused(database_url: str) -> None:
    async def act(database: Database) -> None:
        before = await backend(database)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await database.fetch_value(SLEEP, seconds=5)

        assert await backend(database) != before
        reads = database.pools[1]
        assert (reads.in_use, reads.idle) == (0, 1)

    with_database(database_url, act)


def test_connection_ended_while_idle_fails_no_read(own_postgres: Postgres) -> None:
    url = own_postgres.url()

    async def act(database: Database) -> set[int]:
        backends = set()
        with ThreadPoolExecutor(1) as thread:
            for _ in range(30):
                backends.add(await backend(database))
                thread.submit(
                    databases.execute, url, END_OTHERS
                ).result()  # the blocked loop can't see the socket close
        return backends

    assert len(with_database(url, act)) == 30


def test_statement_that_times_out_is_not_retried(database_url: str) -> None:
    async def act(database: Database) -> float:
        await backend(database)
        began = asyncio.get_running_loop().time()
        with pytest.raises(asyncpg.QueryCanceledError):
            await database.fetch_value(SLEEP, seconds=9)
        return asyncio.get_running_loop().time() - began

    assert with_database(database_url, act, database_statement_timeout_seconds=3) < 5.5


def test_reads_cannot_write(migrated_database_url: str) -> None:
    """A query that calls a writing function is refused by PostgreSQL, and is a bug, not a read-only database."""

    async def act(database: Database) -> None:
        with pytest.raises(RuntimeError, match="this read writes"):
            await database.fetch_value(Statement(select(func.nextval(bindparam("name")))), name="pgqueuer_id_seq")

    with_database(migrated_database_url, act)


def test_full_database_takes_no_pooled_connection(own_postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is too old is kept: another client would get its place."""
    databases.execute(own_postgres.url(), "CREATE USER guest PASSWORD 'secret' CONNECTION LIMIT 20")
    url = f"postgres://guest:secret@127.0.0.1:{own_postgres.port}/postgres"

    async def act(database: Database) -> tuple[int, int, int]:
        before = await backend(database)
        monkeypatch.setattr("audifi.core.db.pool.monotonic", lambda: float("inf"))
        async with databases.connections_taken(url):
            meanwhile = await backend(database)
        return before, meanwhile, await backend(database)

    before, meanwhile, after = with_database(url, act)
    assert before == meanwhile != after


def test_pool_is_reachable_by_any_of_its_connections(own_postgres: Postgres) -> None:
    databases.execute(own_postgres.url(), "CREATE USER guest PASSWORD 'secret' CONNECTION LIMIT 20")
    url = f"postgres://guest:secret@127.0.0.1:{own_postgres.port}/postgres"

    async def open_nothing(_: Database) -> None:
        pass

    async def read(database: Database) -> None:
        await backend(database)

    async def write(database: Database) -> None:
        await database.fetch_sql("SELECT 1")

    async def act(database: Database, use: Callable[[Database], Awaitable[None]]) -> bool:
        await use(database)
        async with databases.connections_taken(url):
            return await database.is_reachable()

    uses = (open_nothing, read, write)
    assert [with_database(url, partial(act, use=use)) for use in uses] == [False, True, True]


def test_pool_in_use_counts_as_working(database_url: str) -> None:
    async def act(database: Database) -> bool:
        async with database.pools[0].semaphore:
            return await database.is_reachable()

    assert with_database(database_url, act, database_pool_timeout_seconds=0.1)


def raise_sqlstate(state: str) -> str:
    return f"DO $$ BEGIN RAISE SQLSTATE '{state}'; END $$"


@pytest.mark.parametrize(("state", "is_kept"), [("53100", True), ("53200", True), ("58030", True), ("25006", False)])
def test_connection_leaves_the_pool_only_if_read_only(database_url: str, state: str, *, is_kept: bool) -> None:
    async def act(database: Database) -> bool:
        [[before]] = await database.fetch_sql("SELECT pg_backend_pid()")
        with pytest.raises(asyncpg.PostgresError):
            await database.fetch_sql(raise_sqlstate(state))
        with pytest.raises(asyncpg.PostgresError):
            async with database.transaction() as tx:
                await tx.fetch_sql(raise_sqlstate(state))
        [[after]] = await database.fetch_sql("SELECT pg_backend_pid()")
        return bool(before == after)

    assert with_database(database_url, act) is is_kept


def test_writes_work_when_the_database_is_writable_again(empty_database_url: str) -> None:
    name = empty_database_url.split("/")[3].split("?", maxsplit=1)[0]
    read_only = f"ALTER DATABASE {name} SET default_transaction_read_only = "
    databases.execute(empty_database_url, "CREATE TABLE marks ()", f"{read_only} on")

    async def act(database: Database) -> None:
        with pytest.raises(asyncpg.ReadOnlySQLTransactionError) as error:
            await database.fetch_sql("INSERT INTO marks DEFAULT VALUES")
        assert is_read_only(error.value)
        # Sessions keep the value with which they began.
        await asyncio.to_thread(
            databases.execute, empty_database_url, "SET default_transaction_read_only = off", f"{read_only} off"
        )
        await database.fetch_sql("INSERT INTO marks DEFAULT VALUES")

    with_database(empty_database_url, act)
