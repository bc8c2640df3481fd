"""Values of a line: what is read, and what is refused with a sentence."""

from collections.abc import Iterator
from uuid import UUID

import pytest

from audifi.royalties import lines
from audifi.royalties.lines import COPIED, Line, LineParser, batches, encode
from audifi.royalties.presets import FIELDS, PRESETS
from audifi.royalties.reading import Record, StatementError

CELLS = {
    "reporting_date": "2026-02-25",
    "sale_month": "2026-01",
    "store": "Spotify",
    "artist": "Ana Ruiz",
    "title": "Midnight Drive",
    "isrc": "us-rc1-76-07839",
    "upc": "036000291452",
    "quantity": "12",
    "team_percentage": "100",
    "type": "Song",
    "territory": "US",
    "amount": "1.5",
    "currency": "USD",
}
STATEMENT = UUID("01930b5a-7c1e-7d3f-8a52-6f0e4b9c2d17")


def parser(provider: str = "test") -> LineParser:
    return LineParser(provider=provider, columns=PRESETS["canonical"].columns, currencies=("USD", "EUR"))


def cells(**changes: str) -> list[str]:
    return [(CELLS | changes)[name] for name in FIELDS]


def parse(provider: str = "test", **changes: str) -> Line:
    line = parser(provider).parse(7, cells(**changes))
    assert line is not None
    return line


def refusal(**changes: str) -> str:
    with pytest.raises(StatementError) as caught:
        parse(**changes)
    assert caught.value.line == 7
    return f"{caught.value.code}: {caught.value.detail}"


def test_identifiers_are_normalized() -> None:
    line = parse()

    assert (line.isrc, line.upc, line.identifier) == ("USRC17607839", "0036000291452", "USRC17607839")
    assert parse(isrc="").identifier == "0036000291452"


def test_invalid_identifiers_are_kept_as_they_are() -> None:
    line = parse(isrc="n/a", upc="36000291452")

    assert (line.isrc, line.upc) == ("n/a", "36000291452")


@pytest.mark.parametrize("amount", ["0", "1.5", "-0.000000000001", "+2", ".5", "5.", "9999999.999999999999"])
def test_plain_amounts_are_kept(amount: str) -> None:
    assert parse(amount=amount).amount == amount


@pytest.mark.parametrize("amount", ["0,0012", "-1,5", "1.234,56"])
def test_decimal_comma_is_refused_with_a_sentence(amount: str) -> None:
    assert refusal(amount=amount) == (
        "statement.amount_invalid: The amount has a decimal comma. Export the file again with a decimal point: 0.0012, "
        "not 0,0012."
    )


@pytest.mark.parametrize(
    "amount", ["", "$1", "1.2E-5", "1 000", "(1.5)", "10000000", "0.1234567890123", "NaN", "\u0661"]
)
def test_other_amounts_are_refused(amount: str) -> None:
    assert refusal(amount=amount).startswith(
        "statement.amount_invalid: Write amounts as plain numbers below 10 million"
    )


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"reporting_date": "02/25/2026"}, "Write dates as 2026-01-31"),
        ({"reporting_date": "2026-02-30"}, "Write dates as 2026-01-31"),
        ({"reporting_date": ""}, "Write dates as 2026-01-31"),
        ({"sale_month": "January"}, "Write dates as 2026-01-31"),
        ({"sale_month": "2026-13"}, "Write dates as 2026-01-31"),
        ({"sale_month": "", "isrc": "", "upc": ""}, "Write dates as 2026-01-31"),
        ({"quantity": "1.5"}, "Write quantities as whole numbers"),
        ({"team_percentage": "101"}, "A percentage is a number"),
        ({"currency": "GBP"}, "Amounts must be in one of the platform's currencies: USD, EUR."),
        ({"currency": ""}, "Amounts must be in one of the platform's currencies: USD, EUR."),
    ],
)
def test_wrong_value_is_refused_with_a_sentence(changes: dict[str, str], sentence: str) -> None:
    assert sentence in refusal(**changes)


def test_months_and_days_are_dates() -> None:
    line = parse(reporting_date="2026-02", sale_month="2026-01-31")

    assert (line.reporting_date, line.sale_month) == ("2026-02-01", "2026-01-01")


def test_quantities_may_be_written_with_zeros_or_be_missing() -> None:
    assert [parse(quantity=quantity).quantity for quantity in ("12.0", "-3", "")] == ["12", "-3", ""]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("reporting_date", "2026-03-25"),
        ("sale_month", "2026-02"),
        ("store", "Deezer"),
        ("artist", "Bo"),
        ("isrc", "USRC17607840"),
        ("type", "Album"),
        ("territory", "DE"),
    ],
)
def test_key_tells_sales_apart(name: str, value: str) -> None:
    assert parse().key == parse(amount="2", quantity="3", title="Renamed", team_percentage="50").key
    assert parse(**{name: value}).key != parse().key
    assert parse(provider="other").key != parse().key


def test_total_must_be_at_the_end() -> None:
    totals = parser()

    assert totals.parse(5, cells(reporting_date="Total", sale_month="", isrc="", upc="")) is None
    assert totals.parse(6, cells(reporting_date="", sale_month="", isrc="", upc="")) is None
    with pytest.raises(StatementError) as caught:
        totals.parse(7, cells())
    assert (caught.value.code, caught.value.line) == ("statement.line_invalid", 5)


def test_long_text_is_shortened() -> None:
    line = parse(title="x" * 501, isrc="y" * 41)

    assert (len(line.title), len(line.isrc)) == (500, 40)


def test_lines_are_encoded_for_copy() -> None:
    rows = encode(
        STATEMENT, [parse(title='=HYPERLINK("a", "b")'), parse(isrc="", quantity="")], [STATEMENT, None]
    ).decode()

    key = parse().key, parse(isrc="").key
    assert rows == (
        f"{STATEMENT},matched,{STATEMENT},7,{key[0]},2026-02-25,2026-01-01,Spotify,Ana Ruiz,"
        '"=HYPERLINK(""a"", ""b"")",USRC17607839,0036000291452,12,100,Song,US,1.5,USD\n'
        f"{STATEMENT},unmatched,,7,{key[1]},2026-02-25,2026-01-01,Spotify,Ana Ruiz,Midnight Drive,"
        ",0036000291452,,100,Song,US,1.5,USD\n"
    )
    assert len(COPIED) == len(rows.splitlines()[1].split(","))


def test_too_many_lines_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def records() -> Iterator[Record]:
        yield from ((number, cells()) for number in range(4))

    monkeypatch.setattr(lines, "MAX_LINES", 4)
    assert [len(batch) for batch in batches(records(), parser(), 3)] == [3, 1]
    monkeypatch.setattr(lines, "MAX_LINES", 3)
    with pytest.raises(StatementError, match=r"statement\.too_many_lines"):
        list(batches(records(), parser(), 3))
