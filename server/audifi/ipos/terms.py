"""The terms of an offering: what is checked beyond each field, and their hash."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from audifi.core.http.problems import FieldError, invalid
from audifi.ipos.queries import IpoRow
from audifi.ipos.schemas import IpoTerms
from audifi.ipos.splits import BPS, MAX_RESALE_BPS

MAX_DURATION = timedelta(days=90)
HASHED = (
    "id number master_id artist_id currency total_shares retained_shares unit_price max_per_account min_shares "
    "holders_bps platform_bps sale_fee_bps resale_fee_bps royalty_to_holders_bps lockup_days reflection_hours "
    "countries_blocked opens_at allowlist_until ends_at"
).split()


def check(terms: IpoTerms, *, currencies: Sequence[str], platform_bps: int, resale_fee_bps: int, now: datetime) -> None:
    """Check what depends on several fields or on settings.

    Raises:
        Problem: 422 with a pointer for each error.
    """
    errors = [
        FieldError(code=code, detail=detail, pointer=f"/{field}")
        for field, code, detail in _errors(terms, currencies, platform_bps, resale_fee_bps, now)
    ]
    if errors:
        raise invalid(errors)


def _errors(
    terms: IpoTerms, currencies: Sequence[str], platform_bps: int, resale_fee_bps: int, now: datetime
) -> Iterator[tuple[str, str, str]]:
    offered = terms.total_shares - terms.retained_shares
    if terms.currency not in currencies:
        yield "currency", "currency_unsupported", f"Currency should be one of {', '.join(currencies)}"
    if offered < 1:
        yield "retained_shares", "less_than", "Fewer shares should be retained than there are"
    if terms.max_per_account > max(offered, 1):
        yield "max_per_account", "less_than_equal", "Cap should be at most the number of offered shares"
    if terms.min_shares > max(offered, 0):
        yield "min_shares", "less_than_equal", "Minimum should be at most the number of offered shares"
    if terms.holders_bps + platform_bps > BPS:
        yield "holders_bps", "less_than_equal", f"Holders' part should be at most {BPS - platform_bps}"
    if terms.royalty.highest_bps + resale_fee_bps > MAX_RESALE_BPS:
        yield "royalty", "less_than_equal", f"Royalties should be at most {MAX_RESALE_BPS - resale_fee_bps} together"
    if terms.opens_at < now:
        yield "opens_at", "datetime_future", "Opening should be in the future"
    if not timedelta(0) < terms.ends_at - terms.opens_at <= MAX_DURATION:
        yield "ends_at", "window_invalid", "End should be after the opening, by at most 90 days"
    if terms.allowlist_until is not None and not terms.opens_at < terms.allowlist_until <= terms.ends_at:
        yield "allowlist_until", "window_invalid", "End of the allowlist's time should lie between opening and end"


def canonical_json(value: object) -> str:
    """Return canonical JSON (RFC 8785) of integers, ASCII strings, lists and objects."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def digest(ipo: IpoRow) -> bytes:
    """Return the SHA-256 of the terms as canonical JSON; instants are in ISO 8601, the royalty is an object."""
    terms = {name: _plain(getattr(ipo, name)) for name in HASHED} | {"royalty": json.loads(ipo.royalty)}
    return hashlib.sha256(canonical_json(terms).encode()).digest()


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, list):
        return value
    return value if value is None or isinstance(value, int) else str(value)
