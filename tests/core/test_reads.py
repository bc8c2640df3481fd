"""The connections of reads: who gets one, which are used again, and what happens when they end."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import pytest
from sqlalchemy import Integer, bindparam, func, select

from audifi.core.outages import is_database_away, is_database_busy
from audifi.core.reads import Query, Reads
from audifi.core.settings import DatabaseSettings
from dev.postgres import Postgres
from tests.support import databases


def test_reads_whose_connections_postgresql_ends_say_that_it_is_away(own_postgres: Postgres) -> None:
    url = own_postgres.url()
    end = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = 'postgres'"
    )
    one = Query(select(bindparam("n", type_=Integer)))
    errors: list[Exception] = []

    async def read_for_ever(reads: Reads) -> None:
        while True:
            try:
                await reads.fetch_one(one, n=1)
            except Exception as error:  # noqa: BLE001 - whatever it is
                errors.append(error)
            await asyncio.sleep(0.002)

    async def read_while_they_are_ended() -> None:
        async with Reads(DatabaseSettings.model_validate({"database_url": url})) as reads:
            readers = [asyncio.create_task(read_for_ever(reads)) for _ in range(12)]
            for _ in range(20):
                await asyncio.sleep(0.1)
                await asyncio.to_thread(databases.execute, url, end)
            for reader in readers:
                reader.cancel()
            await asyncio.gather(*readers, return_exceptions=True)

    asyncio.run(read_while_they_are_ended())

    assert errors
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
        holding = asyncio.create_task(reads.fetch_one(SLEEP, seconds=1))
        await asyncio.sleep(0.1)
        with pytest.raises(Exception, match="in use") as error:
            await backend(reads)
        assert is_database_busy(error.value)
        await holding
        assert await backend(reads), "the next one gets it"

    with_reads(database_url, act, database_read_pool_size=1, database_pool_timeout_seconds=0.1)


def test_a_connection_is_used_again_until_it_is_too_old(database_url: str) -> None:
    async def act(reads: Reads) -> list[int]:
        first = [await backend(reads) for _ in range(3)]
        await asyncio.sleep(1.1)
        return [*first, await backend(reads)]

    first, again, once_more, later = with_reads(database_url, act, database_pool_recycle_seconds=1)

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


def test_nothing_can_be_written_by_the_way_of_reads(migrated_database_url: str) -> None:
    """Were a query to call a function that writes, PostgreSQL would refuse it."""

    async def act(reads: Reads) -> None:
        with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
            await reads.fetch_one(Query(select(func.nextval(bindparam("name")))), name="pgqueuer_id_seq")

    with_reads(migrated_database_url, act)
