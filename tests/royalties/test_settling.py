"""Worked examples of rounding, by hand."""

from decimal import Decimal

import pytest

from audifi.royalties.settling import settle


def carry(*amounts: str, scale: int = 2) -> list[tuple[int, str]]:
    """Settle one statement after the other; return what each records, and what it leaves."""
    carried, settled = Decimal(0), []
    for amount in amounts:
        units, carried = settle(Decimal(amount), carried=carried, scale=scale)
        settled.append((units, f"{carried.normalize():f}"))
    return settled


def test_fraction_of_a_cent_goes_to_the_next_statement() -> None:
    # 10.006 is 1000 cents and 0.006; 0.006 + 10.006 = 10.012 is 1001 cents and 0.002.
    assert carry("10.006", "10.006", "0") == [(1000, "0.006"), (1001, "0.002"), (0, "0.002")]


def test_lines_below_a_cent_become_one_cent_together() -> None:
    assert carry("0.004", "0.004", "0.004") == [(0, "0.004"), (0, "0.008"), (1, "0.002")]


def test_negative_total_is_carried_until_it_is_earned() -> None:
    # -3.21 and 3.205 are -0.005; and 0.015 more are 0.010: one cent.
    assert carry("-3.21", "3.205", "0.015") == [(0, "-3.21"), (0, "-0.005"), (1, "0")]


@pytest.mark.parametrize(("scale", "expected"), [(0, (12, "0.345")), (2, (1234, "0.005")), (3, (12345, "0"))])
def test_scale_of_the_currency_decides_on_rounding(scale: int, expected: tuple[int, str]) -> None:
    assert carry("12.345", scale=scale) == [expected]


def test_twelve_decimals_of_large_sums_are_exact() -> None:
    assert carry("9999999999999.999999999999", "0.000000000001") == [
        (999_999_999_999_999, "0.009999999999"),
        (1, "0"),
    ]
