"""Identifiers of the music industry, checked and normalized. Errors are ValueErrors."""

import re

from stdnum import ean, isrc
from stdnum.exceptions import ValidationError

ISWC = re.compile(r"T[0-9]{10}")
UPC_DIGITS = (12, 13)


def parse_isrc(value: str) -> str:
    """Return an ISRC (ISO 3901) in upper case, without hyphens."""
    try:
        return str(isrc.validate(value))
    except ValidationError:
        raise ValueError("must be an ISRC such as US-RC1-76-07839") from None


def parse_upc(value: str) -> str:
    """Return a UPC (12 digits) or EAN (13) as 13 digits."""
    digits = ean.compact(value)
    if len(digits) not in UPC_DIGITS or not ean.is_valid(digits):
        raise ValueError("must be a UPC or EAN of 12 or 13 digits with a valid check digit")
    return str(digits).zfill(max(UPC_DIGITS))


def parse_iswc(value: str) -> str:
    """Return an ISWC (ISO 15707) in upper case, without separators: T and 10 digits, the last one the check digit."""
    code = re.sub(r"[-. ]", "", value).upper()
    if not ISWC.fullmatch(code):
        raise ValueError("must be an ISWC such as T-034.524.680-1")
    *digits, check_digit = map(int, code[1:])
    if (1 + sum(place * digit for place, digit in enumerate(digits, 1)) + check_digit) % 10:
        raise ValueError("must be an ISWC with a valid check digit")
    return code
