"""Reads on connections that end under them."""

import asyncio

from sqlalchemy import Integer, bindparam, select

from audifi.core.outages import is_database_away
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
