"""Billing periods and proration to the second (https://docs.stripe.com/billing/subscriptions/prorations)."""

import calendar
from datetime import UTC, datetime, timedelta

MONTHS = {"month": 1, "year": 12}
DAYS = {"day": 1, "week": 7}


def boundary(anchor: int, interval: str, number: int) -> int:
    """Return the start of a period, counted from the anchor's.

    A month that lacks the anchor's day has its last day instead, and the next month has the anchor's day again
    (https://docs.stripe.com/billing/subscriptions/billing-cycle).
    """
    start = datetime.fromtimestamp(anchor, UTC)
    if interval in DAYS:
        return int((start + timedelta(days=DAYS[interval] * number)).timestamp())
    year, month = divmod(start.year * 12 + start.month - 1 + MONTHS[interval] * number, 12)
    day = min(start.day, calendar.monthrange(year, month + 1)[1])
    return int(start.replace(year=year, month=month + 1, day=day).timestamp())


def end_of_period(anchor: int, interval: str, start: int) -> int:
    """Return the first boundary after `start`."""
    number = 1
    while (end := boundary(anchor, interval, number)) <= start:
        number += 1
    return end


def prorated(amount: int, *, left: int, whole: int) -> int:
    """Return the part of an amount for the seconds that are left, rounded half up."""
    return (2 * amount * left + whole) // (2 * whole)
