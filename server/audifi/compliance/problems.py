"""Refusals by the rules. Their codes are part of the contract."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime

import asyncpg
from pydantic import Field

from audifi.core.db.errors import sqlstate
from audifi.core.http.problems import FieldError, Problem, ProblemDetails, invalid
from audifi.ledger.problems import account_frozen

STATE = "CP001"
"""The SQLSTATE of `compliance_check_v1`; the message is a problem's code."""


class LimitExceeded(ProblemDetails):
    """The account would do more of this in 12 months than it may."""

    limit: int = Field(examples=[500000])
    """What an account may do in 12 months, in base units of the currency."""
    used: int = Field(examples=[480000])
    """What it did in the last 12 months."""
    resets_at: datetime | None = Field(examples=["2027-01-31T12:00:00Z"])
    """When this amount will be within the limit, if nothing is added; null if it is more than the limit itself."""


def kyc_required() -> Problem:
    return Problem(403, "kyc.required", "Verification required", "Have your identity verified first.")


def country_unknown() -> Problem:
    return Problem(403, "country.unknown", "Country unknown", "Have your country of residence verified first.")


def country_blocked() -> Problem:
    return Problem(403, "country.blocked", "Country blocked", "This isn't possible in your country of residence.")


def limit_exceeded(*, limit: int, used: int, resets_at: datetime | None) -> Problem:
    return Problem(
        409,
        "limit.exceeded",
        "Limit exceeded",
        "Choose a smaller amount, or wait until `resets_at`.",
        model=LimitExceeded,
        limit=limit,
        used=used,
        resets_at=resets_at,
    )


def list_has_no_limit() -> Problem:
    detail = "A listing moves no money: limit resale_buy"
    return invalid([FieldError(code="unsupported", detail=detail, pointer="/amount_per_12_months")])


_BY_CODE: Mapping[str, Callable[[], Problem]] = {
    "account.frozen": account_frozen,
    "kyc.required": kyc_required,
    "country.unknown": country_unknown,
    "country.blocked": country_blocked,
}
ALL = (
    *(make() for make in _BY_CODE.values()),
    limit_exceeded(limit=500_000, used=480_000, resets_at=datetime(2027, 1, 31, 12, tzinfo=UTC)),
)
"""For `@raises` of a route that checks the rules."""


@contextmanager
def refusals() -> Iterator[None]:
    """Turn what `compliance_check_v1` refuses into problems: around each statement that calls it."""
    try:
        yield
    except asyncpg.PostgresError as error:
        if sqlstate(error) != STATE:
            raise
        if make := _BY_CODE.get(error.message):
            raise make() from None
        detail = json.loads(error.detail)
        resets_at = detail["resets_at"] and datetime.fromisoformat(detail["resets_at"]).astimezone(UTC)
        raise limit_exceeded(limit=detail["limit"], used=detail["used"], resets_at=resets_at) from None
