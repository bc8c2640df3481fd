"""Files as people have them: encodings, ends of lines, quotes, columns that moved."""

import io
import json
from collections.abc import Callable
from typing import Any

import pytest

from audifi.royalties.lines import LineParser, batches
from audifi.royalties.models import FileFormat, Preset
from audifi.royalties.presets import Columns, Field, columns_of
from audifi.royalties.reading import MAX_RECORD_CHARACTERS, StatementError, TextLines, read_records
from tests.royalties.statements import DISTROKID, SALE, TUNECORE, distrokid, sale, table

ISRC = "USRC17607839"
FILE = distrokid(sale(ISRC), sale(ISRC, "-0.000000000001"))


def read(
    content: bytes,
    preset: Preset = "distrokid",
    file_format: FileFormat = "tsv",
    *,
    mapping: dict[Field, str] | None = None,
    currency: str | None = None,
) -> list[tuple[int, str, str]]:
    """Return number, amount and ISRC of each line."""
    columns = columns_of(preset, mapping=mapping, currency=currency)
    return [(line.number, line.amount, line.isrc) for line in parsed(content, columns, file_format)]


def parsed(content: bytes, columns: Columns, file_format: FileFormat = "tsv") -> list[Any]:
    parser = LineParser(provider="test", columns=columns, currencies=("USD", "EUR"))
    records = read_records(TextLines(io.BytesIO(content)), file_format, columns)
    return [line for batch in batches(records, parser, 2) for line in batch]


def refusal(
    content: bytes, preset: Preset = "distrokid", file_format: FileFormat = "tsv"
) -> tuple[str, int | None, str]:
    with pytest.raises(StatementError) as caught:
        read(content, preset, file_format)
    return caught.value.code, caught.value.line, caught.value.detail


EXPECTED = [(2, "1.5", ISRC), (3, "-0.000000000001", ISRC)]


SAVED: dict[str, Callable[[bytes], bytes]] = {
    "as exported": lambda content: content,
    "UTF-8 with a byte order mark": lambda content: b"\xef\xbb\xbf" + content,
    "UTF-16": lambda content: content.decode().encode("utf-16"),
    "UTF-16, big-endian": lambda content: b"\xfe\xff" + content.decode().encode("utf-16-be"),
    "CRLF": lambda content: content.replace(b"\n", b"\r\n"),
    "CR": lambda content: content.replace(b"\n", b"\r"),
    "no end of the last line": lambda content: content.rstrip(b"\n"),
    "another case": lambda content: content.replace(b"Store", b" STORE "),
    "another name": lambda content: content.replace(b"Song/Album", b"Source Type"),
    "another column": lambda content: content.replace(b"Songwriter Royalties Withheld", b"Recoup (USD)"),
    "quoted separator": lambda content: content.replace(b"Spotify", b'"Spot\tify"'),
    "empty lines": lambda content: content + b"\n\n",
    "empty cells": lambda content: content + b"\t\t\t\n",
    "total": lambda content: content + b"Total" + b"\t" * 12 + b"1.5\n",
    "totals": lambda content: content + b"\t\tTotal" + b"\t" * 10 + b"1.5\n\n\t\tCount\t2\n",
}


@pytest.mark.parametrize("change", SAVED.values(), ids=SAVED)
def test_file_is_read_however_it_was_saved(change: Callable[[bytes], bytes]) -> None:
    assert read(change(FILE)) == EXPECTED


def test_blank_lines_keep_the_numbers_of_others() -> None:
    assert [number for number, *_ in read(FILE.replace(b"\n", b"\n \n\n"))] == [4, 7]


def test_place_of_columns_does_not_matter() -> None:
    rows = [SALE | sale(ISRC), SALE | sale(ISRC, "-0.000000000001")]

    assert read(table(DISTROKID[::-1], rows)) == EXPECTED


def test_quoted_line_break_is_part_of_a_cell() -> None:
    [line] = parsed(
        distrokid(sale(ISRC, Title='"Midnight\n\\.\nDrive"')), columns_of("distrokid", mapping=None, currency=None)
    )

    assert (line.number, line.title) == (4, "Midnight \\. Drive")


def test_tunecore_is_read() -> None:
    row = {
        "Sales Period": "2026-01-01",
        "Posted Date": "2026-02-25",
        "Store Name": "Apple Music",
        "Country Of Sale": "DE",
        "Optional ISRC": "US-RC1-76-07839",
        "Sales Type": "Streaming",
        "# Units Sold": "3",
        "Net Sales": "0.01",
        "Total Earned": "0.0123",
        "Currency": "eur",
    }

    [line] = parsed(table(TUNECORE, [row], ","), columns_of("tunecore", mapping=None, currency=None), "csv")
    assert (line.amount, line.currency, line.isrc, line.sale_month, line.quantity) == (
        "0.0123",
        "EUR",
        ISRC,
        "2026-01-01",
        "3",
    )


def canonical(**members: object) -> bytes:
    values = {"reporting_date": "2026-02-25", "sale_month": "2026-01", "store": "A", "isrc": ISRC, "currency": "USD"}
    return json.dumps(values | {"amount": 1.5} | members).encode() + b"\n"


def test_json_lines_keep_the_decimals_of_numbers() -> None:
    content = canonical(amount=None).replace(b"null", b"0.100000000001") + b"\n" + canonical(title=None, amount="2")

    assert read(content, "canonical", "jsonl") == [(1, "0.100000000001", ISRC), (3, "2", ISRC)]


def test_json_line_may_leave_an_isrc_out() -> None:
    album = json.dumps(json.loads(canonical(upc="036000291452")) | {"isrc": None}).encode() + b"\n"

    assert [isrc for *_, isrc in read(album + canonical(), "canonical", "jsonl")] == ["", ISRC]


@pytest.mark.parametrize(
    "content",
    [
        b"[1]\n",
        b'"text"\n',
        b"{\n",
        b"[" * 30_000 + b"\n",
        canonical(title=True),
        canonical(title={"a": 1}),
        canonical(title="a\0"),
        b'{"title": "\\ud800"}\n',
    ],
    ids=lambda content: repr(content[:30]),
)
def test_line_that_is_no_json_object_is_refused(content: bytes) -> None:
    assert refusal(canonical() + content, "canonical", "jsonl")[:2] == ("statement.line_invalid", 2)


def test_json_without_a_required_member_is_refused() -> None:
    code, line, detail = refusal(canonical().replace(b"store", b"shop"), "canonical", "jsonl")

    assert (code, line) == ("statement.column_missing", 1)
    assert "no column store." in detail


def test_mapped_columns_are_read_under_their_names() -> None:
    mapping: dict[Field, str] = {
        "reporting_date": "Statement",
        "sale_month": "Period",
        "store": "Retailer",
        "amount": "Net",
        "upc": "Barcode",
    }
    content = b"Barcode,Net,Retailer,Period,Statement\n036000291452,0.5,Deezer,2026-01,2026-02\n"

    assert read(content, "mapped", "csv", mapping=mapping, currency="USD") == [(2, "0.5", "")]


def test_canonical_currency_may_be_the_statements() -> None:
    content = b"reporting_date,sale_month,store,isrc,amount\n2026-02,2026-01,A,USRC17607839,1\n"

    assert read(content, "canonical", "csv", currency="EUR") == [(2, "1", ISRC)]
    code, _, detail = refusal(content, "canonical", "csv")
    assert code == "statement.column_missing"
    assert "take `currency` from the request" in detail


@pytest.mark.parametrize("name", ["Reporting Date", "Sale Month", "Store", "Earnings (USD)"])
def test_missing_column_is_named(name: str) -> None:
    code, line, detail = refusal(FILE.replace(name.encode(), b"?"))

    assert (code, line) == ("statement.column_missing", 1)
    assert f"The file has no column {name}." in detail


def test_file_without_identifiers_is_refused() -> None:
    _, _, detail = refusal(FILE.replace(b"ISRC", b"?").replace(b"UPC", b"!"))

    assert detail == "The file has neither an ISRC column nor a UPC column."


def test_column_that_is_there_twice_is_refused() -> None:
    code, _, detail = refusal(FILE.replace(b"Songwriter Royalties Withheld", b"Earnings (USD)"))

    assert (code, detail) == ("statement.column_missing", "The column Earnings (USD) is there twice. Rename one.")


@pytest.mark.parametrize(
    ("content", "code", "line"),
    [
        (b"", "statement.empty", None),
        (FILE.splitlines(keepends=True)[0], "statement.empty", None),
        (b"\x89PNG\r\n\x1a\n", "statement.unreadable", 1),
        (FILE + b"caf\xe9", "statement.unreadable", 4),
        (FILE + b"\0", "statement.unreadable", None),
        (FILE + b"2026-02-25\t" * 14, "statement.line_invalid", 4),
        (FILE + b'"' + b"x\n" * MAX_RECORD_CHARACTERS, "statement.line_invalid", 32_771),
        (FILE + b"x" * (MAX_RECORD_CHARACTERS + 1), "statement.line_invalid", 4),
    ],
)
def test_file_that_cannot_be_read_is_refused(content: bytes, code: str, line: int | None) -> None:
    assert refusal(content)[:2] == (code, line)
