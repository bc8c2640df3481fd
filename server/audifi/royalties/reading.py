"""Reads the records of a statement's file, in bounded memory: CSV, TSV (RFC 4180, with quotes) and JSON lines."""

import codecs
import csv
import io
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, BinaryIO

from audifi.royalties.models import FileFormat, StatementFailure
from audifi.royalties.presets import FIELDS, IDENTIFIERS, Columns

MAX_RECORD_CHARACTERS = 65_536
DELIMITERS: Mapping[FileFormat, str] = {"csv": ",", "tsv": "\t"}

type Cells = Sequence[str]
"""The cells of a record, in the order of `FIELDS`; empty where the file has none."""
type Record = tuple[int, Cells]
"""The number of the record's last line in the file, from 1, and its cells."""


class StatementError(Exception):
    """The file can't be imported.

    Args:
        code: why.
        detail: what to do, for people. It repeats no cell of the file.
        line: where, from 1.
    """

    def __init__(self, code: StatementFailure, detail: str, line: int | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.detail = detail
        self.line = line


class TextLines(Iterator[str]):
    """The lines of a file as text, with their ends. `record_ends` resets the bound on a record's length."""

    def __init__(self, file: BinaryIO) -> None:
        """Start at the beginning.

        Args:
            file: UTF-8, with or without a byte order mark, or UTF-16 with one.
        """
        file.seek(0)
        start = file.read(2)
        file.seek(0)
        encoding = "utf-16" if start in {codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE} else "utf-8-sig"
        self._file = file
        self._text = io.TextIOWrapper(file, encoding, newline="")
        self._characters = 0
        self.number = 0

    def __next__(self) -> str:
        try:
            line = self._text.readline(MAX_RECORD_CHARACTERS + 1)
        except UnicodeError:
            raise StatementError(
                "statement.unreadable", "Save the file as UTF-8, or as UTF-16 with a byte order mark.", self.number + 1
            ) from None
        if not line:
            raise StopIteration
        self.number += 1
        self._characters += len(line)
        if self._characters > MAX_RECORD_CHARACTERS:
            raise StatementError(
                "statement.line_invalid",
                f"A record has at most {MAX_RECORD_CHARACTERS} characters. Check for a quote that isn't closed.",
                self.number,
            )
        if "\0" in line:
            raise StatementError("statement.unreadable", "The file isn't text. Upload it as it was exported.")
        return line

    @property
    def bytes_read(self) -> int:
        return self._file.tell()

    def record_ends(self) -> None:
        self._characters = 0


def read_records(lines: TextLines, file_format: FileFormat, columns: Columns) -> Iterator[Record]:
    """Yield the records of a file; empty ones are left out.

    Raises:
        StatementError: a column is missing, or the file isn't in its format.
    """
    if file_format == "jsonl":
        return _read_objects(lines, columns)
    return _read_rows(lines, DELIMITERS[file_format], columns)


def _read_rows(lines: TextLines, delimiter: str, columns: Columns) -> Iterator[Record]:
    rows = _rows(lines, delimiter)
    header = next(rows, None)
    if header is None:
        raise StatementError("statement.empty", "The file has no lines.")
    places = _places(header, columns)
    width = len(header)
    for row in rows:
        if len(row) < width:
            row.extend([""] * (width - len(row)))
        elif any(cell.strip() for cell in row[width:]):
            raise StatementError(
                "statement.line_invalid",
                "The line has more cells than there are columns. Put values that contain the separator into quotes; "
                "amounts have a decimal point, not a comma.",
                lines.number,
            )
        yield lines.number, ["" if place is None else row[place].strip() for place in places]


def _rows(lines: TextLines, delimiter: str) -> Iterator[list[str]]:
    for row in csv.reader(lines, delimiter=delimiter):
        lines.record_ends()
        if any(row) and not (len(row) == 1 and row[0].isspace()):
            yield row


def _read_objects(lines: TextLines, columns: Columns) -> Iterator[Record]:
    names = [_normal(columns.names[each][0]) if each in columns.names else "" for each in FIELDS]
    is_checked = False
    for line in lines:
        lines.record_ends()
        if not line.strip():
            continue
        members = _members(line, lines.number)
        if not is_checked:
            _check_required(columns, members)
            is_checked = True
        yield lines.number, [members.get(name, "") for name in names]


def _members(line: str, number: int) -> dict[str, str]:
    """Return the members of an object as text, numbers exactly as they are written."""
    try:
        value = json.loads(line, parse_float=str, parse_int=str, parse_constant=str)
        return {_normal(name): _text(member) for name, member in value.items()}
    except (ValueError, TypeError, AttributeError, RecursionError):  # AttributeError: it isn't an object
        raise StatementError(
            "statement.line_invalid", "Each line is a JSON object of strings, numbers and nulls.", number
        ) from None


def _text(member: Any) -> str:
    if member is None:
        return ""
    if not isinstance(member, str) or "\0" in member:
        raise TypeError
    member.encode()  # a lone surrogate can't be stored
    return member.strip()


def _places(header: Cells, columns: Columns) -> list[int | None]:
    """Return where each field's cell is in a row; None where the file has no such column."""
    present = [_normal(name) for name in header]
    for name in {name for names in columns.names.values() for name in names}:
        if present.count(_normal(name)) > 1:
            raise StatementError("statement.column_missing", f"The column {name} is there twice. Rename one.", 1)
    _check_required(columns, present)
    if not any(_normal(name) in present for each in IDENTIFIERS for name in columns.names.get(each, ())):
        raise StatementError("statement.column_missing", "The file has neither an ISRC column nor a UPC column.", 1)
    return [
        next((present.index(_normal(name)) for name in columns.names.get(each, ()) if _normal(name) in present), None)
        for each in FIELDS
    ]


def _check_required(columns: Columns, present: Collection[str]) -> None:
    for each in FIELDS:
        names = columns.names.get(each, ())
        if columns.needs(each) and not any(_normal(name) in present for name in names):
            detail = (
                f"The file has no column {' or '.join(names)}. Check the preset and the format, or choose `mapped`."
            )
            if each == "currency":
                detail += " `canonical` and `mapped` take `currency` from the request, too."
            raise StatementError("statement.column_missing", detail, 1)


def _normal(name: str) -> str:
    return name.strip().casefold()
