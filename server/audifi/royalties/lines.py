"""Turns a record of a statement into a line: values are checked, identifiers normalized, text is kept.

A line's values are text that PostgreSQL reads by COPY: its `numeric` is exact, and nothing here computes with amounts.
"""

import csv
import hashlib
import io
import re
from collections.abc import Collection, Iterator, Sequence
from datetime import date
from functools import lru_cache
from itertools import islice
from typing import NamedTuple
from uuid import UUID

from audifi.masters.identifiers import parse_isrc, parse_upc
from audifi.royalties.presets import Columns
from audifi.royalties.reading import Cells, Record, StatementError

MAX_LINES = 1_000_000
MAX_TEXT = 500
MAX_IDENTIFIER = 40
CACHED = 50_000
AMOUNT = re.compile(r"[+-]?(?:[0-9]{1,7}(?:\.[0-9]{0,12})?|\.[0-9]{1,12})")
DECIMAL_COMMA = re.compile(r"[+-]?[0-9.]*,[0-9]+")
PERCENTAGE = re.compile(r"(?:100|[0-9]{1,2})(?:\.[0-9]{1,4})?")
QUANTITY = re.compile(r"([+-]?[0-9]{1,12})(?:\.0+)?")
MONTH_OR_DAY = re.compile(r"([0-9]{4}-(?:0[1-9]|1[0-2]))(-[0-9]{2})?")
LINE_BREAKS = re.compile(r"[\r\n]+")
COPIED = (
    "statement_id",
    "status",
    "master_id",
    "number",
    "key",
    "reporting_date",
    "sale_month",
    "store",
    "artist",
    "title",
    "isrc",
    "upc",
    "quantity",
    "team_percentage",
    "type",
    "territory",
    "amount",
    "currency",
)
"""The columns of `royalty_lines`, in the order of `encode`."""


class Line(NamedTuple):
    """A line without its statement and its master; the values are in the order of `COPIED`."""

    number: int
    key: int
    reporting_date: str
    sale_month: str
    store: str
    artist: str
    title: str
    isrc: str
    upc: str
    quantity: str
    team_percentage: str
    type: str
    territory: str
    amount: str
    currency: str

    @property
    def identifier(self) -> str:
        """The ISRC, else the UPC; empty if there is neither."""
        return self.isrc or self.upc


class LineParser:
    """Parses the records of one statement."""

    def __init__(self, *, provider: str, columns: Columns, currencies: Collection[str]) -> None:
        """Create a parser.

        Args:
            provider: a part of the lines' keys.
            columns: of the file.
            currencies: in which amounts may be.
        """
        self._provider = provider
        self._currency = columns.currency
        self._currencies = currencies
        self._total_at: int | None = None

    def parse(self, number: int, cells: Cells) -> Line | None:
        """Return the line; None for a total, which may only be at the end.

        Raises:
            StatementError: a value is missing or wrong.
        """
        reporting, month, store, artist, title, isrc, upc, quantity, percentage, kind, territory, amount, currency = (
            cells
        )
        reporting_date, sale_month = _day(reporting), _month(month)
        if reporting_date is None and not (month or isrc or upc):
            self._total_at = self._total_at or number
            return None
        if self._total_at is not None:
            raise StatementError(
                "statement.line_invalid", "The line names no sale. Only totals after all sales may.", self._total_at
            )
        if reporting_date is None or sale_month is None:
            raise StatementError(
                "statement.line_invalid", "Write dates as 2026-01-31, and sale months as 2026-01.", number
            )
        if not AMOUNT.fullmatch(amount):
            raise _amount_error(amount, number)
        units = QUANTITY.fullmatch(quantity or "0")
        if units is None:
            raise StatementError("statement.line_invalid", "Write quantities as whole numbers, such as 1234.", number)
        if percentage and not PERCENTAGE.fullmatch(percentage):
            raise StatementError("statement.line_invalid", "A percentage is a number from 0 to 100.", number)
        currency = self._currency or currency.upper()
        if currency not in self._currencies:
            raise StatementError(
                "statement.currency_unsupported",
                f"Amounts must be in one of the platform's currencies: {', '.join(self._currencies)}.",
                number,
            )
        isrc, upc = _isrc(isrc), _upc(upc)
        key = (self._provider, artist, reporting_date, sale_month, isrc or upc, store, territory, kind)
        return Line(
            number,
            _hash(key),
            reporting_date,
            sale_month,
            _kept(store),
            _kept(artist),
            _kept(title),
            isrc,
            upc,
            units[1] if quantity else "",
            percentage,
            _kept(kind),
            _kept(territory),
            amount,
            currency,
        )


def batches(records: Iterator[Record], parser: LineParser, size: int) -> Iterator[list[Line]]:
    """Yield the lines of a file in lists of at most this size.

    Raises:
        StatementError: a line is wrong, or there are too many, or none.
    """
    count = 0
    lines = (line for number, cells in records if (line := parser.parse(number, cells)) is not None)
    while batch := list(islice(lines, size)):
        count += len(batch)
        if count > MAX_LINES:
            raise StatementError("statement.too_many_lines", f"A statement has at most {MAX_LINES:,} lines. Split it.")
        yield batch
    if not count:
        raise StatementError("statement.empty", "The file has no lines of sales.")


def encode(statement_id: UUID, lines: Sequence[Line], masters: Sequence[UUID | None]) -> bytes:
    """Return the lines for `COPY … (FORMAT csv)`, with the master of each; empty cells are NULL."""
    buffer = io.StringIO()
    statement = str(statement_id)
    starts = {master_id: (statement, "matched", str(master_id)) for master_id in set(masters)}
    starts[None] = (statement, "unmatched", "")
    csv.writer(buffer, lineterminator="\n").writerows(
        starts[master_id] + line for line, master_id in zip(lines, masters, strict=True)
    )
    return buffer.getvalue().encode()


def _amount_error(amount: str, number: int) -> StatementError:
    if DECIMAL_COMMA.fullmatch(amount):
        detail = "The amount has a decimal comma. Export the file again with a decimal point: 0.0012, not 0,0012."
    else:
        detail = (
            "Write amounts as plain numbers below 10 million with at most 12 decimals, such as -0.0012: "
            "without currency signs, thousands separators or exponents."
        )
    return StatementError("statement.amount_invalid", detail, number)


def _hash(values: Sequence[str]) -> int:
    digest = hashlib.blake2b("\x1f".join(values).encode(), digest_size=8).digest()
    return int.from_bytes(digest, signed=True)


def _kept(text: str) -> str:
    """Shorten what a person reads. One line, since COPY would take a line `\\.` for the end of the data."""
    return LINE_BREAKS.sub(" ", text[:MAX_TEXT]) if "\n" in text or "\r" in text else text[:MAX_TEXT]


@lru_cache(CACHED)
def _day(text: str) -> str | None:
    """Return a date; of a month, its first day; None if it is neither."""
    match = MONTH_OR_DAY.fullmatch(text)
    if not match:
        return None
    day = match[1] + (match[2] or "-01")
    try:
        date.fromisoformat(day)
    except ValueError:
        return None
    return day


@lru_cache(CACHED)
def _month(text: str) -> str | None:
    """Return the first day of the month of a date or a month; None if it is neither."""
    day = _day(text)
    return day and f"{day[:7]}-01"


@lru_cache(CACHED)
def _isrc(text: str) -> str:
    try:
        return parse_isrc(text)
    except ValueError:
        return _kept(text[:MAX_IDENTIFIER])


@lru_cache(CACHED)
def _upc(text: str) -> str:
    try:
        return parse_upc(text)
    except ValueError:
        return _kept(text[:MAX_IDENTIFIER])
