"""Keyset pagination: every row once, in every order, under concurrent writes."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import BigInteger, Column, DateTime, Integer, MetaData, Table, Text, Uuid, bindparam, select

from audifi.core.config.settings import DatabaseSettings
from audifi.core.db.database import Database
from audifi.core.db.pagination import CursorCodec, InvalidCursorError, PagedList
from tests.support import databases

THINGS = Table(
    "things",
    MetaData(),
    Column("id", Uuid, primary_key=True),
    Column("owner", Integer, nullable=False),
    Column("title", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("made_at", DateTime(timezone=True), nullable=False),
)
TABLE = """
CREATE TABLE things (id uuid PRIMARY KEY, owner int NOT NULL, title text NOT NULL, size bigint NOT NULL,
    made_at timestamptz NOT NULL)
"""
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
CODEC = CursorCodec([b"k" * 32])


@dataclass(frozen=True, slots=True)
class Thing:
    id: UUID
    title: str
    size: int
    made_at: datetime


def things() -> PagedList[Thing]:
    columns = THINGS.c
    return PagedList(
        "things",
        select(columns.id, columns.title, columns.size, columns.made_at).where(columns.owner == bindparam("owner")),
        Thing,
        key=columns.id,
        sorts={"made_at": columns.made_at, "title": columns.title, "size": columns.size, "id": columns.id},
        filters={"min_size": columns.size >= bindparam("min_size"), "title": columns.title == bindparam("title")},
    )


@pytest.fixture
def url(empty_database_url: str) -> str:
    """40 things of owner 1, in pairs that differ only in their ids, and one of owner 2."""
    rows = [
        f"('{UUID(int=n)}', 1, 't{n // 2 % 7}', {n // 2}, '{EPOCH + timedelta(microseconds=n // 2)}')"
        for n in range(40)
    ]
    rows.append(f"('{UUID(int=99)}', 2, 't0', 0, '{EPOCH}')")
    databases.execute(empty_database_url, TABLE, f"INSERT INTO things VALUES {', '.join(rows)}")
    return empty_database_url


def with_database[T](url: str, act: Callable[[Database], Awaitable[T]]) -> T:
    async def run() -> T:
        settings = DatabaseSettings.model_validate({"database_url": url})
        async with Database(settings, pool_size=1, read_pool_size=1) as database:
            return await act(database)

    return asyncio.run(run())


async def read_all(database: Database, sort: str, limit: int, **filters: Any) -> list[Thing]:
    paged, cursor, rows = things(), None, []
    while True:
        page = await paged.fetch(database, CODEC, sort=sort, limit=limit, cursor=cursor, filters=filters, owner=1)
        assert len(page.rows) == limit or page.next_cursor is None
        rows += page.rows
        if (cursor := page.next_cursor) is None:
            return rows


@pytest.mark.parametrize("limit", [1, 7, 20, 40, 41])
@pytest.mark.parametrize("sort", ["made_at", "-made_at", "title", "-title", "size", "-size", "id", "-id"])
def test_pages_hold_every_row_once_in_order(url: str, sort: str, limit: int) -> None:
    rows = with_database(url, lambda database: read_all(database, sort, limit))

    name = sort.removeprefix("-")
    keys = [(getattr(row, name), row.id) for row in rows]
    assert len(set(keys)) == 40
    assert keys == sorted(keys, reverse=sort.startswith("-"))


def test_filters_apply_only_when_they_are_given(url: str) -> None:
    async def act(database: Database) -> tuple[int, ...]:
        every: list[dict[str, Any]] = [{}, {"min_size": 10}, {"title": "t0"}, {"min_size": 10, "title": "t0"}]
        return tuple([len(await read_all(database, "made_at", 3, **filters)) for filters in every])

    assert with_database(url, act) == (40, 20, 6, 2)


def test_rows_written_between_pages_do_not_shift_them(url: str) -> None:
    async def act(database: Database) -> list[int]:
        first = await things().fetch(database, CODEC, sort="-size", limit=10, owner=1)
        new = f"('{UUID(int=500)}', 1, 'new', 1000, now())"
        await asyncio.to_thread(databases.execute, url, f"INSERT INTO things VALUES {new}")
        await asyncio.to_thread(databases.execute, url, f"DELETE FROM things WHERE id = '{first.rows[-1].id}'")
        second = await things().fetch(database, CODEC, sort="-size", limit=10, cursor=first.next_cursor, owner=1)
        return [row.size for row in (*first.rows, *second.rows)]

    assert with_database(url, act) == [n // 2 for n in range(39, 19, -1)]


@pytest.mark.parametrize(
    "change",
    [
        {"sort": "size"},
        {"sort": "-made_at"},
        {"filters": {"min_size": 3}},
        {"codec": CursorCodec([b"another" * 5])},
    ],
)
def test_cursor_of_another_list_or_key_is_rejected(url: str, change: dict[str, Any]) -> None:
    async def act(database: Database) -> None:
        page = await things().fetch(database, CODEC, sort="-size", limit=2, owner=1)
        arguments: dict[str, Any] = {"codec": CODEC, "sort": "-size", "filters": {}} | change
        codec = arguments.pop("codec")
        with pytest.raises(InvalidCursorError):
            await things().fetch(database, codec, limit=2, cursor=page.next_cursor, owner=1, **arguments)

    with_database(url, act)


@pytest.mark.parametrize("cursor", ["x", "é", "-" * 60, "A" * 24, "AAAA" * 100, "=", "\0"])
def test_forged_cursor_is_rejected(cursor: str) -> None:
    with pytest.raises(InvalidCursorError):
        CODEC.decode("things", cursor)


def test_each_changed_byte_of_a_cursor_is_rejected() -> None:
    cursor = CODEC.encode("things", [EPOCH, UUID(int=1)])

    assert CODEC.decode("things", cursor) == [EPOCH, UUID(int=1)]
    for place in range(len(cursor) - 1):
        changed = cursor[:place] + ("A" if cursor[place] != "A" else "B") + cursor[place + 1 :]
        with pytest.raises(InvalidCursorError):
            CODEC.decode("things", changed)


def test_previous_key_still_reads_cursors() -> None:
    old, new = CursorCodec([b"old" * 11]), CursorCodec([b"new" * 11, b"old" * 11])

    assert new.decode("things", old.encode("things", [7, "a", UUID(int=2)])) == [7, "a", UUID(int=2)]
    with pytest.raises(InvalidCursorError):
        old.decode("things", new.encode("things", [7]))


def test_row_without_a_sort_column_is_refused() -> None:
    with pytest.raises(ValueError, match="Thing has no field for owner"):
        PagedList("x", select(THINGS), Thing, key=THINGS.c.id, sorts={"owner": THINGS.c.owner})
