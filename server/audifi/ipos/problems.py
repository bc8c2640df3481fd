"""Refusals of offerings and purchases. Their codes are part of the contract."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import asyncpg
from pydantic import Field

from audifi.compliance import problems as compliance
from audifi.core.db.errors import sqlstate
from audifi.core.http import problems as core
from audifi.core.http.problems import Problem, ProblemDetails
from audifi.core.idempotency import problems as idempotency
from audifi.ledger import problems as ledger
from audifi.masters import problems as masters


class ChangedPrice(ProblemDetails):
    """The price isn't what the client expected."""

    total: int = Field(examples=[25000])
    """The price now, in base units."""


class SoldOut(ProblemDetails):
    """Fewer shares are left than were asked for."""

    available: int = Field(examples=[3])
    """Shares that can be bought now."""


class SellsOutError(Exception):
    """The purchase would sell the last share, and wasn't done: it belongs into a transaction with the completion."""


def not_editable() -> Problem:
    return Problem(
        409,
        "ipo.not_editable",
        "Offering not editable",
        "Terms can be changed until the launch, or again after `unlaunch`.",
    )


def exists() -> Problem:
    return Problem(
        409, "ipo.exists", "Offering exists", "A master has one offering at a time. Change or cancel that one."
    )


def limit_reached() -> Problem:
    return Problem(409, "ipo.limit_reached", "Too many live offerings", "Wait until one of the others has ended.")


def not_open() -> Problem:
    return Problem(409, "ipo.not_open", "Offering not open", "Purchases begin at `opens_at`.")


def ended() -> Problem:
    return Problem(409, "ipo.ended", "Offering ended", "Shares are now sold by their holders.")


def paused() -> Problem:
    return Problem(409, "ipo.paused", "Offering paused", "Try again when it is live.")


def sold_out(available: int) -> Problem:
    return Problem(
        409,
        "ipo.sold_out",
        "Not enough shares left",
        "Buy at most `available` shares. Reserved ones may become free within ten minutes.",
        model=SoldOut,
        available=available,
    )


def allowlist_only() -> Problem:
    return Problem(403, "ipo.allowlist_only", "Allowlist only", "Others may buy from `allowlist_until` on.")


def own() -> Problem:
    return Problem(403, "ipo.own", "Own offering", "Artists can't buy in their own offering.")


def cap_exceeded() -> Problem:
    return Problem(
        409, "ipo.cap_exceeded", "Cap exceeded", "Ask `mint-preview` how many more shares this account may buy."
    )


def price_changed(total: int) -> Problem:
    return Problem(
        409,
        "price.changed",
        "Price changed",
        "Show `total` to the buyer, and send it as `expected_total` if they agree.",
        model=ChangedPrice,
        total=total,
    )


def reservation_exists() -> Problem:
    return Problem(409, "reservation.exists", "Reservation exists", "An account has one reservation at a time.")


def reservation_not_open() -> Problem:
    return Problem(
        409, "reservation.not_open", "Reservation not open", "It was used or has expired, or its quantity is another."
    )


def reservation_paused(seconds: int) -> Problem:
    return Problem(
        409,
        "reservation.paused",
        "Reservations paused",
        "The last one expired unused. Buy without one, or wait.",
        headers=[("Retry-After", str(seconds))],
    )


def reservation_limit_reached() -> Problem:
    return Problem(
        409, "reservation.limit_reached", "Too many reservations", "A fifth of the shares is reserved. Buy without one."
    )


def has_sales() -> Problem:
    return Problem(
        409, "ipo.has_sales", "Offering has sales", "Ask an administrator to cancel it: buyers are refunded."
    )


def completed() -> Problem:
    return Problem(409, "ipo.completed", "Offering completed", "A completed offering stays as it is.")


def not_live() -> Problem:
    return Problem(409, "ipo.not_live", "Offering not live", "Only a live or paused offering can be changed like this.")


def minimum_not_reached() -> Problem:
    return Problem(
        409, "ipo.minimum_not_reached", "Minimum not reached", "It can be completed once `min_shares` are sold."
    )


def withdrawable() -> Problem:
    return Problem(
        409, "ipo.withdrawable", "Purchases withdrawable", "It can be completed when the last buyer's time has passed."
    )


def withdrawal_closed() -> Problem:
    return Problem(
        409, "withdrawal.closed", "Withdrawal closed", "The time for withdrawing has passed, or it was done."
    )


PURCHASE: Mapping[str, Callable[[], Problem]] = {
    "not_found": core.not_found,
    "ipo.not_open": not_open,
    "ipo.ended": ended,
    "ipo.paused": paused,
    "ipo.allowlist_only": allowlist_only,
    "ipo.own": own,
    "ipo.cap_exceeded": cap_exceeded,
    "reservation.not_open": reservation_not_open,
    "master.suspended": masters.suspended,
    "idempotency_key.in_progress": idempotency.key_in_progress,
    "idempotency_key.reused": idempotency.key_reused,
}
WITH_NUMBER: Mapping[str, Callable[[int], Problem]] = {"ipo.sold_out": sold_out, "price.changed": price_changed}
STATES = frozenset({"IP001", "IK001", "IK002"})
"""SQLSTATEs that the feature's SQL functions raise; the message is a problem's code."""
ALL_OF_PURCHASE = (
    *(make() for code, make in PURCHASE.items() if not code.startswith("idempotency_key")),
    sold_out(3),
    price_changed(25000),
    ledger.balance_insufficient(1250),
    ledger.account_in_debt(),
    *compliance.ALL,
)


@contextmanager
def refusals() -> Iterator[None]:
    """Turn what the feature's SQL functions refuse into problems.

    Raises:
        SellsOutError: a purchase in a statement of its own would sell the last share.
    """
    try:
        with ledger.refusals(), compliance.refusals():
            yield
    except asyncpg.PostgresError as error:
        if sqlstate(error) not in STATES:
            raise
        code = error.message
        if code == "ipo.sells_out":
            raise SellsOutError from None
        if code in WITH_NUMBER:
            raise WITH_NUMBER[code](int(error.detail)) from None
        make = PURCHASE[code]
        raise make() from None
