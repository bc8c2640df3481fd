"""Which columns of a statement hold what, by the distributor whose report it is.

Names are compared without case and surrounding spaces, and their place doesn't matter: distributors add columns, and
rename them. A field has several names where a distributor has used several.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from audifi.royalties.models import FileFormat, Preset

type Field = Literal[
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
]
FIELDS: tuple[Field, ...] = Field.__value__.__args__
IDENTIFIERS: tuple[Field, ...] = ("isrc", "upc")


@dataclass(frozen=True, kw_only=True)
class Columns:
    """The columns of a file."""

    names: Mapping[Field, tuple[str, ...]]
    """By field, in the order in which they are looked for. At least one of ISRC and UPC must be there."""
    required: frozenset[Field] = frozenset({"reporting_date", "sale_month", "store", "amount"})
    currency: str | None = None
    """Of all lines; None: a column has it."""

    def needs(self, name: Field) -> bool:
        return name in self.required or (name == "currency" and self.currency is None)


@dataclass(frozen=True, kw_only=True)
class KnownPreset:
    """A distributor's report."""

    provider: str | None
    """None: the client names it."""
    formats: frozenset[FileFormat]
    columns: Columns = field(default_factory=lambda: Columns(names={}))


TEXT_FORMATS: frozenset[FileFormat] = frozenset({"csv", "tsv"})
ALL_FORMATS: frozenset[FileFormat] = frozenset({"csv", "tsv", "jsonl"})

PRESETS: Mapping[Preset, KnownPreset] = {
    "distrokid": KnownPreset(
        provider="distrokid",
        formats=TEXT_FORMATS,
        columns=Columns(
            names={
                "reporting_date": ("Reporting Date",),
                "sale_month": ("Sale Month",),
                "store": ("Store",),
                "artist": ("Artist",),
                "title": ("Title",),
                "isrc": ("ISRC",),
                "upc": ("UPC",),
                "quantity": ("Quantity",),
                "team_percentage": ("Team Percentage",),
                "type": ("Song/Album", "Source Type"),
                "territory": ("Country of Sale",),
                "amount": ("Earnings (USD)",),
            },
            currency="USD",
        ),
    ),
    "tunecore": KnownPreset(
        provider="tunecore",
        formats=TEXT_FORMATS,
        columns=Columns(
            names={
                "reporting_date": ("Posted Date",),
                "sale_month": ("Sales Period",),
                "store": ("Store Name",),
                "artist": ("Artist",),
                "title": ("Song Title",),
                "isrc": ("Optional ISRC", "ISRC"),
                "upc": ("UPC",),
                "quantity": ("# Units Sold", "Quantity"),
                "type": ("Sales Type",),
                "territory": ("Country Of Sale",),
                "amount": ("Total Earned",),
                "currency": ("Currency",),
            },
        ),
    ),
    "canonical": KnownPreset(
        provider=None, formats=ALL_FORMATS, columns=Columns(names={name: (name,) for name in FIELDS})
    ),
    "mapped": KnownPreset(provider=None, formats=ALL_FORMATS),
}


def columns_of(preset: Preset, *, mapping: Mapping[Field, str] | None, currency: str | None) -> Columns:
    """Return the columns of a file.

    Args:
        preset: whose report it is.
        mapping: of a mapped file, the name of each field's column.
        currency: of all lines, where the client names it.
    """
    known = PRESETS[preset].columns
    if mapping is None:
        return known if currency is None else Columns(names=known.names, currency=currency)
    return Columns(names={name: (column,) for name, column in mapping.items()}, currency=currency)
