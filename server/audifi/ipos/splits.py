"""Divide amounts by basis points: the parts are rounded down, and one named party gets the residue."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field, model_validator

from audifi.core.http.schemas import RequestModel

BPS = 10_000
MAX_RESALE_BPS = 2500
"""Royalties and resale fee together."""

Bps = Annotated[int, Field(strict=True, ge=0, le=BPS, examples=[500])]
"""Hundredths of a percent."""


def part(total: int, bps: int) -> int:
    """Return `bps` hundredths of a percent of the total, rounded down."""
    return total * bps // BPS


class FirstMinters(RequestModel):
    """The artist and the first three accounts that bought in the offering get a part of each resale.

    Several accounts of one mailbox count as the first of them, and those of the artist's mailbox don't count.
    """

    mode: Literal["first_minters"] = Field(examples=["first_minters"])
    """The mode."""
    artist_bps: Annotated[int, Field(strict=True, ge=0, le=1500, examples=[1000])]
    """The artist's part."""
    minter_bps: Annotated[
        list[Annotated[int, Field(strict=True, ge=0, le=1000)]], Field(max_length=3, examples=[[500, 300, 100]])
    ]
    """The parts of the first buyers, in their order; none is more than the one before."""

    @model_validator(mode="after")
    def _check_order(self) -> "FirstMinters":
        if any(later > earlier for earlier, later in pairwise(self.minter_bps)):
            raise ValueError("minter_bps must not rise")
        return self

    @property
    def highest_bps(self) -> int:
        return self.artist_bps + sum(self.minter_bps)


class Tiers(RequestModel):
    """The artist gets a part of each resale, which depends on the share's serial."""

    mode: Literal["tiers"] = Field(examples=["tiers"])
    """The mode."""
    tiers: Annotated[
        list[
            tuple[
                Annotated[int, Field(strict=True, ge=1, le=1_000_000)] | None,
                Annotated[int, Field(strict=True, ge=50, le=1500)],
            ]
        ],
        Field(min_length=1, max_length=6, examples=[[[10, 1000], [50, 500], [100, 300], [None, 100]]]),
    ]
    """Pairs of the last serial of a tier and its rate; the last tier ends at null. Rates don't rise."""

    @model_validator(mode="after")
    def _check_order(self) -> "Tiers":
        *bounded, last = self.tiers
        ends = [end for end, _ in bounded]
        if last[0] is not None or None in ends:
            raise ValueError("the last tier, and it alone, ends at null")
        if any(later <= earlier for earlier, later in pairwise(end for end in ends if end is not None)):
            raise ValueError("the ends of tiers must rise")
        if any(later > earlier for (_, earlier), (_, later) in pairwise(self.tiers)):
            raise ValueError("the rates of tiers must not rise")
        return self

    @property
    def highest_bps(self) -> int:
        return self.tiers[0][1]


type Royalty = Annotated[FirstMinters | Tiers, Field(discriminator="mode")]
DEFAULT_ROYALTY = FirstMinters(mode="first_minters", artist_bps=1000, minter_bps=[500, 300, 100])


@dataclass(frozen=True, kw_only=True)
class ResaleSplit:
    """What each party gets of a resale; the parts add up to the total."""

    seller: int
    platform: int
    artist: int
    holders: int
    """All holders', of the artist's royalty."""
    minters: Sequence[tuple[UUID, int]]


def split_resale(
    *,
    unit_price: int,
    serials: range,
    royalty: Royalty,
    resale_fee_bps: int,
    minters: Sequence[UUID | None],
    royalty_to_holders_bps: int = 0,
) -> ResaleSplit:
    """Divide the price of contiguous shares. The seller gets the residue, and the parts of minters that are missing.

    Args:
        unit_price: of one share, in base units.
        serials: of the shares, beginning with 1 for the offering's first.
        royalty: the offering's terms.
        resale_fee_bps: the platform's part.
        minters: the accounts that bought first; None for one that was deleted.
        royalty_to_holders_bps: the holders' part of the artist's royalty; the artist gets the residue.
    """
    total = unit_price * len(serials)
    parts: list[tuple[UUID, int]] = []
    if isinstance(royalty, FirstMinters):
        to_artist = part(total, royalty.artist_bps)
        parts = [
            (minter, part(total, bps))
            for minter, bps in zip(minters, royalty.minter_bps, strict=False)
            if minter is not None
        ]
    else:
        to_artist = sum(part(unit_price, bps) * count for bps, count in _by_rate(royalty, serials))
    platform = part(total, resale_fee_bps)
    seller = total - to_artist - platform - sum(amount for _, amount in parts)
    holders = part(to_artist, royalty_to_holders_bps)
    return ResaleSplit(seller=seller, platform=platform, artist=to_artist - holders, holders=holders, minters=parts)


def _by_rate(royalty: Tiers, serials: range) -> Iterable[tuple[int, int]]:
    """Return the rate of each tier with the number of shares in it."""
    start = serials.start
    for end, bps in royalty.tiers:
        stop = serials.stop if end is None else min(serials.stop, end + 1)
        if stop > start:
            yield bps, stop - start
            start = stop


@dataclass(frozen=True, kw_only=True)
class Proceeds:
    """What each party gets of an offering's escrow; the parts add up to it."""

    platform: int
    collaborators: Sequence[tuple[UUID, int]]
    artist: int


def split_proceeds(*, escrow: int, sale_fee_bps: int, collaborators: Sequence[tuple[UUID, int]]) -> Proceeds:
    """Divide an offering's escrow; the artist gets the residue.

    Args:
        escrow: what was paid, in base units.
        sale_fee_bps: the platform's part.
        collaborators: accounts with their part of what is left after the fee, in basis points.
    """
    platform = part(escrow, sale_fee_bps)
    rest = escrow - platform
    parts = [(user_id, part(rest, bps)) for user_id, bps in collaborators]
    return Proceeds(platform=platform, collaborators=parts, artist=rest - sum(amount for _, amount in parts))
