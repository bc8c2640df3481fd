"""Domain events: what a reader sees while transactions commit in any order."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import asyncpg

from audifi.core.db.database import Database
from audifi.core.db.retention import delete_expired
from audifi.core.domain_events import service
from audifi.core.domain_events.service import START, EventRow, Position, expired_events
from tests.support import databases

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
RECORD = "INSERT INTO domain_events (kind, subject_id, payload, at) VALUES ($1, gen_random_uuid(), '{}', now())"


@asynccontextmanager
async def writing(url: str) -> AsyncIterator[Any]:
    """Open a transaction on a connection of its own."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("BEGIN")
        yield connection
    finally:
        await connection.close()


def run(url: str, act: Any) -> Any:
    async def with_pools() -> Any:
        async with databases.connect_pools(url) as database:
            return await act(database)

    return asyncio.run(with_pools())


async def read_until(database: Database, count: int, after: Position = START) -> list[str]:
    """Return the kinds once there are so many: transactions of other databases of the server delay them, too."""
    async with asyncio.timeout(120):
        while len(rows := await service.read(database, after=after)) < count:  # noqa: ASYNC110 - PostgreSQL decides
            await asyncio.sleep(0.01)
    return [row.kind for row in rows]


async def last(database: Database) -> EventRow:
    return (await service.read(database))[-1]


def test_event_committed_first_waits_for_the_lower_id(migrated_database_url: str) -> None:
    """A cursor by ids alone would have passed the event of the transaction that commits last."""

    async def act(database: Database) -> None:
        async with writing(migrated_database_url) as slow, writing(migrated_database_url) as fast:
            await slow.execute(RECORD, "slow.first")
            await fast.execute(RECORD, "fast.second")
            await fast.execute("COMMIT")
            assert await service.read(database) == []
            await slow.execute(RECORD, "slow.third")
            await slow.execute("COMMIT")
        assert await read_until(database, 3) == ["slow.first", "slow.third", "fast.second"]

    run(migrated_database_url, act)


def test_event_with_a_lower_id_than_the_last_is_not_lost(migrated_database_url: str) -> None:
    """The transaction that began to write first recorded its event second."""

    async def act(database: Database) -> None:
        async with writing(migrated_database_url) as early, writing(migrated_database_url) as late:
            await early.execute("SELECT pg_current_xact_id()")
            await late.execute(RECORD, "late.first")
            await early.execute(RECORD, "early.second")
            await early.execute("COMMIT")
            assert await read_until(database, 1) == ["early.second"]
            position = (await last(database)).position
            await late.execute("COMMIT")
        assert await read_until(database, 1, after=position) == ["late.first"]
        rows = await service.read(database)
        assert [row.id for row in rows] == [2, 1]
        assert await service.read(database, after=rows[-1].position) == []

    run(migrated_database_url, act)


def test_rolled_back_event_is_never_read(migrated_database_url: str) -> None:
    async def act(database: Database) -> None:
        async with writing(migrated_database_url) as refused:
            await refused.execute(RECORD, "refused.first")
            await refused.execute("ROLLBACK")
        async with database.transaction() as tx:
            subject = uuid4()
            await service.record(tx, "share.moved", subject_id=subject, payload={"price": 250}, now=NOW)
        assert await read_until(database, 1) == ["share.moved"]
        event = await last(database)
        assert (event.subject_id, event.payload, event.at) == (subject, '{"price": 250}', NOW)

    run(migrated_database_url, act)


def test_pages_follow_each_other(migrated_database_url: str) -> None:
    async def act(database: Database) -> None:
        for kind in ("a.b", "c.d", "e.f"):
            await database.fetch_sql(RECORD, kind)
        await read_until(database, 3)
        kinds, position = [], START
        while rows := await service.read(database, after=position, limit=2):
            kinds.append([row.kind for row in rows])
            position = rows[-1].position
        assert kinds == [["a.b", "c.d"], ["e.f"]]

    run(migrated_database_url, act)


def test_events_are_kept_for_thirty_days(migrated_database_url: str) -> None:
    async def act(database: Database) -> None:
        async with database.transaction() as tx:
            for days in (31, 29):
                at = NOW - timedelta(days=days)
                await service.record(tx, "share.moved", subject_id=uuid4(), payload={"days": days}, now=at)
        assert await delete_expired(database, [expired_events(NOW)]) == {"domain_events": 1}
        assert await read_until(database, 1) == ["share.moved"]
        assert (await last(database)).payload == '{"days": 29}'

    run(migrated_database_url, act)
