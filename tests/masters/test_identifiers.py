"""ISRC, ISWC and UPC: normal forms and check digits."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audifi.masters.identifiers import parse_isrc, parse_iswc, parse_upc


@pytest.mark.parametrize(
    ("parse", "value", "normalized"),
    [
        (parse_isrc, "us-rc1-76-07839", "USRC17607839"),
        (parse_iswc, "t-034.524.680-1", "T0345246801"),
        (parse_upc, "0 36000 29145 2", "0036000291452"),
        (parse_upc, "4006381333931", "4006381333931"),
    ],
)
def test_identifier_is_normalized(parse: Callable[[str], str], value: str, normalized: str) -> None:
    assert parse(value) == normalized
    assert parse(normalized) == normalized


@pytest.mark.parametrize(
    ("parse", "value"),
    [
        (parse_isrc, "USRC1760783"),
        (parse_isrc, ""),
        (parse_iswc, "T-034.524.680-2"),
        (parse_iswc, "T034524680"),
        (parse_iswc, "T\u0660345246801"),
        (parse_upc, "036000291453"),
        (parse_upc, "96385074"),
        (parse_upc, "\u066036000291452"),
    ],
)
def test_invalid_identifier_is_refused(parse: Callable[[str], str], value: str) -> None:
    with pytest.raises(ValueError, match=r"^must be "):
        parse(value)


@given(st.integers(0, 10**9 - 1), st.integers(0, 8), st.integers(1, 9))
def test_iswc_check_digit_detects_a_wrong_digit(number: int, place: int, difference: int) -> None:
    digits = f"{number:09}"
    [check_digit] = [digit for digit in "0123456789" if _is_valid(f"T{digits}{digit}")]
    wrong = f"{digits[:place]}{(int(digits[place]) + difference) % 10}{digits[place + 1 :]}"

    # The weight of a place and 10 may have a common factor: then some differences aren't detected.
    assert _is_valid(f"T{wrong}{check_digit}") == ((place + 1) * difference % 10 == 0)


def _is_valid(value: str) -> bool:
    try:
        parse_iswc(value)
    except ValueError:
        return False
    return True
