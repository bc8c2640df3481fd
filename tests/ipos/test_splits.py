"""How amounts are divided."""

from uuid import UUID, uuid4

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from audifi.ipos.splits import (
    DEFAULT_ROYALTY,
    FirstMinters,
    Tiers,
    part,
    split_proceeds,
    split_resale,
)

MINTERS = [UUID(int=number) for number in range(3)]
bps = st.integers(0, 10_000)


@st.composite
def royalties(draw: st.DrawFn) -> FirstMinters | Tiers:
    if draw(st.booleans()):
        rates = sorted(draw(st.lists(st.integers(0, 1000), max_size=3)), reverse=True)
        return FirstMinters(mode="first_minters", artist_bps=draw(st.integers(0, 1500)), minter_bps=rates)
    ends = sorted(draw(st.sets(st.integers(1, 1000), max_size=5)))
    rates = sorted((draw(st.integers(50, 1500)) for _ in range(len(ends) + 1)), reverse=True)
    return Tiers(mode="tiers", tiers=list(zip([*ends, None], rates, strict=True)))


@given(royalties(), st.integers(1, 10**8), st.integers(1, 1000), st.integers(1, 1000), st.integers(0, 500), bps)
@example(DEFAULT_ROYALTY, 10**8, 1, 10**6, 500, 10_000)
def test_parts_of_a_resale_are_its_total(
    royalty: FirstMinters | Tiers, unit_price: int, first: int, count: int, fee: int, to_holders: int
) -> None:
    split = split_resale(
        unit_price=unit_price,
        serials=range(first, first + count),
        royalty=royalty,
        resale_fee_bps=fee,
        minters=MINTERS[: first % 4],
        royalty_to_holders_bps=to_holders,
    )

    parts = [split.seller, split.platform, split.artist, split.holders, *(amount for _, amount in split.minters)]
    assert sum(parts) == unit_price * count
    assert min(parts) >= 0


def test_default_royalty_leaves_the_seller_81_percent() -> None:
    split = split_resale(
        unit_price=10_000, serials=range(5, 6), royalty=DEFAULT_ROYALTY, resale_fee_bps=0, minters=MINTERS
    )

    assert (split.artist, [amount for _, amount in split.minters], split.seller) == (1000, [500, 300, 100], 8100)


def test_part_of_a_missing_minter_stays_with_the_seller() -> None:
    split = split_resale(
        unit_price=10_000,
        serials=range(5, 6),
        royalty=DEFAULT_ROYALTY,
        resale_fee_bps=100,
        minters=[None, MINTERS[1]],
    )

    assert split.minters == [(MINTERS[1], 300)]
    assert (split.platform, split.seller) == (100, 8600)


@pytest.mark.parametrize(
    ("serials", "artist"),
    [
        (range(1, 2), 100),
        (range(10, 12), 150),
        (range(101, 103), 20),
        (range(1, 201), 10 * 100 + 40 * 50 + 50 * 30 + 100 * 10),
    ],
)
def test_tiers_are_added_up_by_share(serials: range, artist: int) -> None:
    royalty = Tiers(mode="tiers", tiers=[(10, 1000), (50, 500), (100, 300), (None, 100)])

    split = split_resale(unit_price=1000, serials=serials, royalty=royalty, resale_fee_bps=0, minters=[])

    assert split.artist == artist


@given(st.integers(0, 2**53), bps, st.lists(st.integers(0, 2500), max_size=4))
def test_parts_of_proceeds_are_the_escrow(escrow: int, fee: int, parts: list[int]) -> None:
    proceeds = split_proceeds(escrow=escrow, sale_fee_bps=fee, collaborators=[(uuid4(), each) for each in parts])

    paid = [proceeds.platform, proceeds.artist, *(amount for _, amount in proceeds.collaborators)]
    assert sum(paid) == escrow
    assert min(paid) >= 0


@given(st.integers(0, 2**53), bps)
def test_part_is_rounded_down(total: int, rate: int) -> None:
    assert part(total, rate) * 10_000 <= total * rate < (part(total, rate) + 1) * 10_000
