"""Request and response schemas of royalty statements."""

from datetime import date
from decimal import Decimal
from typing import Annotated, Literal, Self

from pydantic import Field, PlainSerializer, StringConstraints, WithJsonSchema, model_validator

from audifi.core.http.schemas import MAX_AMOUNT, Id, Instant, Page, RequestModel, ResponseModel
from audifi.masters.schemas import Printable
from audifi.royalties.limits import MAX_BYTES
from audifi.royalties.lines import MAX_IDENTIFIER
from audifi.royalties.models import FileFormat, LineStatus, Preset, StatementFailure, StatementStatus
from audifi.royalties.presets import IDENTIFIERS, PRESETS

MAX_NUMBERS = 1000
MAX_LINE_NUMBER = 2**53 - 1

type Decision = Literal["import", "discard"]

Column = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100), Printable]
Exact = Annotated[
    Decimal,
    PlainSerializer(lambda value: f"{value:f}", return_type=str),
    WithJsonSchema({"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]{1,12})?$", "examples": ["0.003417000000"]}),
]
"""A decimal of the currency's units, exactly as it was added up."""
Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}$", examples=["USD"])]


class ColumnNames(RequestModel):
    """The names of a mapped file's columns. Case and surrounding spaces don't matter."""

    reporting_date: Column = Field(examples=["Statement Date"])
    """When it was reported: dates such as 2026-01-31, or months such as 2026-01."""
    sale_month: Column = Field(examples=["Period"])
    """When it was sold: months or dates."""
    store: Column = Field(examples=["Retailer"])
    """Where it was sold."""
    amount: Column = Field(examples=["Net Amount"])
    """The net amount, the artist's share."""
    isrc: Column | None = Field(default=None, examples=["ISRC"])
    """The recording. One of ISRC and UPC is needed."""
    upc: Column | None = Field(default=None, examples=["Barcode"])
    """The release: for lines without an ISRC."""
    currency: Column | None = Field(default=None, examples=["Currency"])
    """The amount's currency; leave it out where the statement's `currency` says it."""
    artist: Column | None = Field(default=None, examples=["Artist"])
    """The artist's name."""
    title: Column | None = Field(default=None, examples=["Track"])
    """The title."""
    quantity: Column | None = Field(default=None, examples=["Units"])
    """How many were sold or streamed."""
    team_percentage: Column | None = Field(default=None, examples=["Share"])
    """The artist's share in percent, which the amount is already."""
    type: Column | None = Field(default=None, examples=["Usage"])
    """How it was used."""
    territory: Column | None = Field(default=None, examples=["Country"])
    """Where it was sold."""


class StatementUpload(RequestModel):
    """A file that the client is about to send."""

    preset: Preset = Field(examples=["distrokid"])
    """Whose report it is: its columns. `canonical`: columns named as the fields of `columns`."""
    format: FileFormat = Field(examples=["tsv"])
    """`csv` and `tsv`: with a line of column names. `jsonl`: an object in each line, for `canonical` and `mapped`."""
    size: Annotated[int, Field(strict=True, ge=1, le=MAX_BYTES, examples=[48_211])]
    """In bytes, at most 100 MiB."""
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$", examples=["9f86d081884c7d659a2feaa0c55ad015" * 2])]
    """Of the content, in hexadecimal."""
    provider: Annotated[str | None, Field(pattern="^[a-z0-9_]{1,40}$")] = Field(default=None, examples=["the_orchard"])
    """The distributor, always written alike: what is left of one statement is carried to its next. For `canonical` and
    `mapped` alone."""
    columns: ColumnNames | None = None
    """For `mapped` alone."""
    currency: Currency | None = None
    """Of all lines, for `canonical` and `mapped`: instead of a column."""

    @model_validator(mode="after")
    def _check_preset(self) -> Self:
        known = PRESETS[self.preset]
        if self.format not in known.formats:
            raise ValueError(f"{self.preset} has the formats {' and '.join(sorted(known.formats))}")
        if (self.provider is None) == (known.provider is None):
            raise ValueError("provider belongs to canonical and mapped, and is required there")
        if (self.columns is None) == (self.preset == "mapped"):
            raise ValueError("columns belong to mapped, and are required there")
        if self.currency is not None and known.provider is not None:
            raise ValueError("currency belongs to canonical and mapped")
        if self.columns is not None:
            self._check_columns(self.columns)
        return self

    def _check_columns(self, columns: ColumnNames) -> None:
        if not any(getattr(columns, name) for name in IDENTIFIERS):
            raise ValueError("columns must name the column isrc or upc")
        if (columns.currency is None) == (self.currency is None):
            raise ValueError("the currency is either a column's or the statement's")


class StatementCreated(ResponseModel):
    """Where to send the file."""

    id: Id
    """The statement."""
    url: str = Field(examples=["https://fly.storage.tigris.dev/audifi/incoming/01930b5a?X-Amz-Signature=…"])
    """`PUT` the content to it, with `headers` and without the access token."""
    headers: dict[str, str] = Field(
        examples=[
            {
                "Content-Type": "application/octet-stream",
                "x-amz-checksum-sha256": "n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=",
            }
        ]
    )
    """To send exactly as they are. The URL's signature covers them and the length."""
    expires_at: Instant
    """When the URL expires."""


class Failure(ResponseModel):
    """Why a file wasn't imported; nothing of it was."""

    code: StatementFailure = Field(examples=["statement.amount_invalid"])
    """For programs."""
    detail: str = Field(examples=["The amount has a decimal comma. Export the file again with a decimal point."])
    """What to do, for people."""
    line: int | None = Field(examples=[7])
    """The line in the file, from 1; null where the whole file is wrong."""


class Statement(ResponseModel):
    """A royalty statement."""

    id: Id
    """Permanent id."""
    status: StatementStatus = Field(examples=["imported"])
    """pending → parsing → imported or failed; suspected_duplicate → imported or discarded."""
    preset: Preset = Field(examples=["distrokid"])
    """Whose report it is."""
    format: FileFormat = Field(examples=["tsv"])
    """The file's format."""
    provider: str = Field(examples=["distrokid"])
    """The distributor."""
    failure: Failure | None
    """Why it failed; null unless it did."""
    size: int = Field(examples=[48_211])
    """Of the file, in bytes."""
    bytes_read: int = Field(examples=[48_211])
    """How far the import has come, in bytes of the file."""
    lines: int = Field(examples=[412])
    """Lines with sales; 0 until they are imported."""
    unmatched_lines: int = Field(examples=[3])
    """Lines that belong to no master of the artist yet."""
    suspected_lines: int = Field(examples=[0])
    """Matched lines that another statement had, too, when this one was imported."""
    created_at: Instant
    """When the upload began."""
    imported_at: Instant | None
    """When its revenue was recorded. Lines are deleted 400 days later; totals stay."""


class StatementPage(Page[Statement]):
    """A part of the account's statements."""


class Line(ResponseModel):
    """A line of a statement."""

    number: int = Field(examples=[2])
    """In the file, from 1, with the line of column names."""
    status: LineStatus = Field(examples=["matched"])
    """Whether it belongs to a master."""
    master_id: Id | None
    """The master; null while it is unmatched."""
    reporting_date: date = Field(examples=["2026-02-25"])
    """When it was reported."""
    sale_month: date = Field(examples=["2026-01-01"])
    """The first day of the month in which it was sold."""
    store: str | None = Field(examples=["Spotify"])
    """Where it was sold."""
    artist: str | None = Field(examples=["Ana Ruiz"])
    """As in the file, at most 500 characters; so is other text."""
    title: str | None = Field(examples=["Midnight Drive"])
    """As in the file."""
    isrc: str | None = Field(examples=["USRC17607839"])
    """Without hyphens; as in the file where it isn't valid."""
    upc: str | None = Field(examples=["0036000291452"])
    """13 digits; as in the file where it isn't valid."""
    quantity: int | None = Field(examples=[1204])
    """How many were sold or streamed; negative for returns."""
    team_percentage: Exact | None
    """The artist's share in percent. The amount is that share already."""
    type: str | None = Field(examples=["Song"])
    """How it was used."""
    territory: str | None = Field(examples=["US"])
    """Where it was sold."""
    amount: Exact
    """The net amount in units of the currency, exact, with twelve decimals."""
    currency: str = Field(examples=["USD"])
    """ISO 4217."""


class LinePage(Page[Line]):
    """A part of a statement's lines, in the order of the file."""


class StatementTotal(ResponseModel):
    """What lines of a statement add up to for a master. Lines matched later have a total of their own."""

    id: Id
    """Permanent id."""
    master_id: Id
    """The master."""
    currency: str = Field(examples=["USD"])
    """ISO 4217."""
    lines: int = Field(examples=[409])
    """How many."""
    amount: Exact
    """Their exact sum."""
    carried_in: Exact
    """What earlier statements of the distributor left: a fraction of a base unit, or a negative total."""
    recorded: int = Field(examples=[1234], le=MAX_AMOUNT)
    """The revenue recorded, in base units: both together, rounded down once."""
    carried_out: Exact
    """What is left for the next statement."""
    event_id: Id | None
    """The revenue event; null where nothing was recorded."""
    period_start: date = Field(examples=["2026-01-01"])
    """The first day of the months of sale."""
    period_end: date = Field(examples=["2026-01-31"])
    """The last day of them."""
    created_at: Instant
    """When it was recorded."""


class StatementTotalPage(Page[StatementTotal]):
    """A part of a statement's totals, the oldest first."""


class StatementDecision(RequestModel):
    """What to do with a suspected duplicate."""

    decision: Decision = Field(examples=["import"])
    """`import`: its lines are no duplicates, and count. `discard`: they don't, and are deleted."""


class LineMatch(RequestModel):
    """Unmatched lines, selected by one of `isrc`, `upc` and `numbers`, and the master that they belong to."""

    master_id: Id
    """An offered master of the statement's artist."""
    isrc: Annotated[str, Field(min_length=1, max_length=MAX_IDENTIFIER), Printable] | None = Field(
        default=None, examples=["USRC17607839"]
    )
    """As the lines show it."""
    upc: Annotated[str, Field(min_length=1, max_length=MAX_IDENTIFIER), Printable] | None = Field(
        default=None, examples=["0036000291452"]
    )
    """As the lines show it. Lines with an ISRC are selected, too."""
    numbers: (
        Annotated[
            list[Annotated[int, Field(strict=True, ge=1, le=MAX_LINE_NUMBER)]],
            Field(min_length=1, max_length=MAX_NUMBERS),
        ]
        | None
    ) = Field(default=None, examples=[[2, 3]])
    """Of the lines."""
    confirm_duplicates: bool = Field(default=False, examples=[True])
    """That lines which another statement has, too, are no duplicates."""

    @model_validator(mode="after")
    def _check_selection(self) -> Self:
        if [self.isrc, self.upc, self.numbers].count(None) != 2:  # noqa: PLR2004 - of three
            raise ValueError("exactly one of isrc, upc and numbers selects the lines")
        return self


class LineMatchResult(ResponseModel):
    """What was matched."""

    matched_lines: int = Field(examples=[12])
    """Now; 100,000 at most."""
    remaining_lines: int = Field(examples=[0])
    """Unmatched lines of the same selection: repeat the request until it is 0."""
