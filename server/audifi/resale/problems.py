"""Refusals of listings and their sales. Their codes are part of the contract."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime

import asyncpg
from pydantic import Field

from audifi.compliance import problems as compliance
from audifi.core.db.errors import sqlstate
from audifi.core.http import problems as core
from audifi.core.http.problems import FieldError, Problem, ProblemDetails, invalid
from audifi.core.idempotency import problems as idempotency
from audifi.ipos import problems as ipos
from audifi.ledger import problems as ledger
from audifi.masters import problems as masters


class LockedUp(ProblemDetails):
    """The shares can't be resold yet."""

    transferable_at: datetime = Field(examples=["2026-12-31T18:00:00Z"])
    """When they can."""


EXAMPLE = datetime(2026, 12, 31, 18, tzinfo=UTC)


def ipo_live() -> Problem:
    return Problem(409, "ipo.live", "Offering live", "Shares can be resold once the offering is completed.")


def share_not_held() -> Problem:
    return Problem(
        409,
        "share.not_held",
        "Shares not held",
        "List serials of one range of the account's holdings, or each range by itself.",
    )


def share_locked_up(transferable_at: datetime) -> Problem:
    return Problem(
        409,
        "share.locked_up",
        "Shares locked up",
        "They can be resold from `transferable_at` on.",
        model=LockedUp,
        transferable_at=transferable_at.isoformat(),
    )


def share_listed() -> Problem:
    return Problem(409, "share.listed", "Shares already listed", "Cancel the shares' open listing first.")


def limit_reached() -> Problem:
    return Problem(
        409, "listing.limit_reached", "Too many listings", "Cancel one of the account's 100 open listings first."
    )


def not_open() -> Problem:
    return Problem(
        409, "listing.not_open", "Listing not open", "It was sold or canceled, or has expired. Read the listings again."
    )


def unavailable() -> Problem:
    return Problem(409, "listing.unavailable", "Listing unavailable", "Its shares can't move now. Choose another one.")


def own() -> Problem:
    return Problem(403, "listing.own", "Own listing", "Cancel the listing to keep its shares.")


def expiry_invalid() -> Problem:
    detail = "Expiry should be in the future, within 90 days"
    return invalid([FieldError(code="window_invalid", detail=detail, pointer="/expires_at")])


def serials_invalid() -> Problem:
    detail = "The last serial should not be before the first"
    return invalid([FieldError(code="range_invalid", detail=detail, pointer="/serials")])


BUY: Mapping[str, Callable[[], Problem]] = {
    "master.suspended": masters.suspended,
    "listing.own": own,
    "listing.not_open": not_open,
    "listing.unavailable": unavailable,
    "idempotency_key.in_progress": idempotency.key_in_progress,
    "idempotency_key.reused": idempotency.key_reused,
}
STATES = frozenset({"RS001", "IK001", "IK002"})
"""SQLSTATEs that `resale_buy_v2` raises; the message is a problem's code."""
ALL_OF_BUY = (
    *(make() for code, make in BUY.items() if not code.startswith("idempotency_key")),
    core.not_found(),
    ipos.price_changed(25000),
    ledger.balance_insufficient(1250),
    ledger.account_frozen(),
    ledger.account_in_debt(),
    ledger.balance_limit_exceeded(),
    *compliance.ALL,
)


@contextmanager
def refusals() -> Iterator[None]:
    """Turn what `resale_buy_v2` refuses into problems."""
    try:
        with ledger.refusals(), compliance.refusals():
            yield
    except asyncpg.PostgresError as error:
        if sqlstate(error) not in STATES:
            raise
        if error.message == "price.changed":
            raise ipos.price_changed(int(error.detail)) from None
        make = BUY[error.message]
        raise make() from None
