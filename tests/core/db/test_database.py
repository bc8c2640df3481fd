"""The connections of reads: who gets one, which are used again, and what happens when they end."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import asyncpg
import pytest
from sqlalchemy import bindparam, func, select

from audifi.core.config.settings import DatabaseSettings
from audifi.core.db.database import Query, Reads
from audifi.core.db.errors import is_database_away, is_database_busy
from dev.postgres import Postgres
from tests.support import databases

END_OTHERS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = 'postgres'"
)


def test_reads_whose_connections_postgresql_ends_are_asked_again_or_say_that_it_is_away(own_postgres: Postgres) -> None:
    url = own_postgres.url()
    backends: set[int] = set()
    errors: list[Exception] = []

    async def read_for_ever(reads: Reads) -> None:
        while True:
            try:
                backends.add(await backend(reads))
            except Exception as error:  # noqa: BLE001 - whatever it is
                errors.append(error)
            await asyncio.sleep(0.002)

    async def read_while_they_are_ended() -> None:
        async with Reads(DatabaseSettings.model_validate({"database_url": url})) as reads:
            readers = [asyncio.create_task(read_for_ever(reads)) for _ in range(12)]
            for _ in range(20):
                await asyncio.sleep(0.1)
                await asyncio.to_thread(databases.execute, url, END_OTHERS)
            for reader in readers:
                reader.cancel()
            await asyncio.gather(*readers, return_exceptions=True)

    asyncio.run(read_while_they_are_ended())

    assert len(backends) > 20, "no connection was ended"
    assert {repr(error) for error in errors if not is_database_away(error)} == set()


SLEEP = Query(select(func.pg_sleep(bindparam("seconds"))))
BACKEND = Query(select(func.pg_backend_pid()))


def with_reads[Result](url: str, act: Callable[[Reads], Awaitable[Result]], **settings: Any) -> Result:
    async def run() -> Result:
        async with Reads(DatabaseSettings.model_validate({"database_url": url, **settings})) as reads:
            return await act(reads)

    return asyncio.run(run())


async def backend(reads: Reads) -> int:
    row = await reads.fetch_one(BACKEND)
    assert row
    return int(row[0])


def test_who_waits_first_is_served_first_and_nobody_who_comes_later_is_before(database_url: str) -> None:
    async def act(reads: Reads) -> list[int]:
        served: list[int] = []

        async def read(number: int, again: int) -> None:
            await backend(reads)
            served.append(number)
            if again:
                await read(number, again - 1)  # at once, when the one who waits has been woken and not yet run

        await asyncio.gather(*(read(number, again=9) for number in range(5)))
        return served

    assert with_reads(database_url, act, database_read_pool_size=1) == [0, 1, 2, 3, 4] * 10


def test_who_gets_no_connection_in_time_is_told_that_the_database_is_busy(database_url: str) -> None:
    async def act(reads: Reads) -> None:
        async with reads.turns:
            with pytest.raises(Exception, match="in use") as error:
                await backend(reads)
        assert is_database_busy(error.value)
        assert await backend(reads), "the next one gets it"

    with_reads(database_url, act, database_read_pool_size=1, database_pool_timeout_seconds=0.1)


def test_a_connection_is_used_again_until_it_is_too_old(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def act(reads: Reads) -> list[int]:
        found = []
        for seconds in (0, 0, 599, 600):
            monkeypatch.setattr("audifi.core.db.database.monotonic", lambda seconds=seconds: seconds)
            found.append(await backend(reads))
        return found

    first, again, once_more, later = with_reads(database_url, act, database_pool_recycle_seconds=600)

    assert first == again == once_more != later


def test_a_connection_on_which_a_read_was_given_up_is_not_used_again(database_url: str) -> None:
    async def act(reads: Reads) -> None:
        before = await backend(reads)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await reads.fetch_one(SLEEP, seconds=5)

        assert await backend(reads) != before
        assert (reads.used, reads.idle) == (0, 1)

    with_reads(database_url, act, database_read_pool_size=1)


def test_a_connection_that_postgresql_ended_while_nobody_looked_fails_no_read(own_postgres: Postgres) -> None:
    url = own_postgres.url()

    async def act(reads: Reads) -> set[int]:
        backends = set()
        with ThreadPoolExecutor(1) as thread:
            for _ in range(30):
                backends.add(await backend(reads))
                thread.submit(databases.execute, url, END_OTHERS).result()  # the loop stands still, and sees nothing
        return backends

    assert len(with_reads(url, act)) == 30


def test_a_statement_that_takes_too_long_is_not_asked_again(database_url: str) -> None:
    async def act(reads: Reads) -> float:
        await backend(reads)
        began = asyncio.get_running_loop().time()
        with pytest.raises(asyncpg.QueryCanceledError):
            await reads.fetch_one(SLEEP, seconds=9)
        return asyncio.get_running_loop().time() - began

    assert with_reads(database_url, act, database_statement_timeout_seconds=3) < 5.5


def test_nothing_can_be_written_by_the_way_of_reads(migrated_database_url: str) -> None:
    """Were a query to call a function that writes, PostgreSQL would refuse it."""

    async def act(reads: Reads) -> None:
        with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
            await reads.fetch_one(Query(select(func.nextval(bindparam("name")))), name="pgqueuer_id_seq")

    with_reads(migrated_database_url, act)
