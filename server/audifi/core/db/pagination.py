"""Keyset pagination on any indexed sort column.

A page begins after the last row of the previous page, by (sort column, key): inserted and deleted rows don't shift the
pages, and the last page costs as much as the first (https://use-the-index-luke.com/no-offset).
"""

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import ColumnElement, Integer, Select, bindparam, tuple_
from sqlalchemy.orm import InstrumentedAttribute

from audifi.core.db.statements import Statement

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from audifi.core.db.database import Database

MAC_BYTES = 16
CURSOR_MAX_LENGTH = 512
MAX_FILTERS = 5
"""Each combination of filters is one compiled statement; `Statement` keeps 32 at most."""

type Column = ColumnElement[Any] | InstrumentedAttribute[Any]
type SortValue = datetime | UUID | int | str

TYPES: dict[str, tuple[type, Callable[[SortValue], str | int], Callable[[Any], SortValue]]] = {
    "t": (datetime, lambda value: value.isoformat(), datetime.fromisoformat),  # type: ignore[union-attr]
    "u": (UUID, str, UUID),
    "i": (int, lambda value: value, int),  # type: ignore[return-value, dict-item]
    "s": (str, str, str),
}


class InvalidCursorError(Exception):
    """The cursor is forged, or belongs to another list, sort or filter."""


@dataclass(frozen=True, kw_only=True)
class Page[Row]:
    """A part of a list."""

    rows: list[Row]
    next_cursor: str | None
    """The cursor of the next page; None at the end."""


class CursorCodec:
    """Encode and decode opaque cursors, authenticated by HMAC-SHA-256.

    The list's name, sort and filters are part of what is authenticated, so a cursor is valid only where it was made.

    Args:
        keys: the first one signs, all are accepted.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = keys

    def encode(self, context: str, values: Sequence[SortValue]) -> str:
        payload = json.dumps([_tagged(value) for value in values], separators=(",", ":")).encode()
        return base64.urlsafe_b64encode(_mac(self._keys[0], context, payload) + payload).rstrip(b"=").decode()

    def decode(self, context: str, cursor: str) -> list[SortValue]:
        """Return the values.

        Raises:
            InvalidCursorError: it isn't valid in this context.
        """
        try:
            raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        except (ValueError, binascii.Error):
            raise InvalidCursorError from None
        mac, payload = raw[:MAC_BYTES], raw[MAC_BYTES:]
        if not any(hmac.compare_digest(mac, _mac(key, context, payload)) for key in self._keys):
            raise InvalidCursorError
        return [TYPES[tag][2](value) for tag, value in json.loads(payload)]


class PagedList[Row: "DataclassInstance"]:
    """A select that is read page by page.

    Args:
        name: of the list, unique in the application.
        select: columns and conditions that always hold; its parameters are named by `bindparam`.
        row: the dataclass of a row, which has a field for the key and for each sort column.
        key: a unique column; it breaks ties.
        sorts: the columns by their names in the API; each is in an index with the key, and none is nullable.
        filters: optional conditions by the name of the parameter that each uses.
    """

    def __init__(
        self,
        name: str,
        select: Select[*tuple[Any, ...]],
        row: type[Row],
        *,
        key: Column,
        sorts: Mapping[str, Column],
        filters: Mapping[str, ColumnElement[bool]] | None = None,
    ) -> None:
        self._filters = dict(filters or {})
        if len(self._filters) > MAX_FILTERS:
            raise ValueError(f"{name} has more than {MAX_FILTERS} filters")
        names = {field.name for field in fields(row)}
        if missing := {*sorts, str(getattr(key, "key", ""))} - names:
            raise ValueError(f"{row.__name__} has no field for {', '.join(sorted(missing))}")
        self.name = name
        self._row = row
        self._key = key
        self._key_name = str(getattr(key, "key", ""))
        self._sorts = dict(sorts)
        self._select = select
        self._statements: dict[tuple[str, bool], Statement] = {}

    async def fetch(
        self,
        database: "Database",
        codec: CursorCodec,
        *,
        sort: str,
        limit: int,
        cursor: str | None = None,
        filters: Mapping[str, Any] = MappingProxyType({}),
        **parameters: Any,
    ) -> Page[Row]:
        """Read one page, in one round trip.

        Args:
            database: where it is read.
            codec: of the cursors.
            sort: a sort column's name; a leading `-` sorts descending.
            limit: rows at most.
            cursor: `next_cursor` of the page before.
            filters: values by name; None leaves a filter out.
            parameters: of the select.

        Raises:
            InvalidCursorError: the cursor isn't one of this list in this sort with these filters.
        """
        column = sort.removeprefix("-")
        used = {name: value for name, value in filters.items() if value is not None}
        context = json.dumps([self.name, sort, used], sort_keys=True, default=str)
        after = codec.decode(context, cursor) if cursor else []
        statement = self._statement(sort, has_cursor=bool(after))
        position = dict(zip(self._position(column), after, strict=True)) if after else {}
        rows = await database.fetch_all(statement, self._row, **filters, **parameters, **position, row_limit=limit + 1)
        if len(rows) <= limit:
            return Page(rows=rows, next_cursor=None)
        last = rows[limit - 1]
        values = [getattr(last, name) for name in ([column] if column == self._key_name else [column, self._key_name])]
        return Page(rows=rows[:limit], next_cursor=codec.encode(context, values))

    def _position(self, sort: str) -> list[str]:
        return ["after_key"] if sort == self._key_name else ["after_value", "after_key"]

    def _statement(self, sort: str, *, has_cursor: bool) -> Statement:
        if (sort, has_cursor) not in self._statements:
            self._statements[sort, has_cursor] = self._build(sort, has_cursor=has_cursor)
        return self._statements[sort, has_cursor]

    def _build(self, sort: str, *, has_cursor: bool) -> Statement:
        is_descending, name = sort.startswith("-"), sort.removeprefix("-")
        order = [self._key] if name == self._key_name else [self._sorts[name], self._key]
        statement = self._select
        if has_cursor:
            after = [
                bindparam(parameter, type_=column.type)
                for parameter, column in zip(self._position(name), order, strict=True)
            ]
            left, right = tuple_(*order), tuple_(*after)
            statement = statement.where(left < right if is_descending else left > right)
        statement = statement.order_by(*(column.desc() if is_descending else column.asc() for column in order))
        return Statement(statement.limit(bindparam("row_limit", type_=Integer)), optional=self._filters)


def _tagged(value: SortValue) -> list[str | int]:
    for tag, (kind, encode, _) in TYPES.items():
        if isinstance(value, kind):
            return [tag, encode(value)]
    raise TypeError(f"a list can't be sorted by {type(value).__name__}")


def _mac(key: bytes, context: str, payload: bytes) -> bytes:
    message = len(context.encode()).to_bytes(4) + context.encode() + payload
    return hmac.digest(key, message, hashlib.sha256)[:MAC_BYTES]
