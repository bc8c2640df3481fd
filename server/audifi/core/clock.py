"""Time comes in from outside: routes take `now` from here and pass it down, so that tests can pass their own."""

from datetime import UTC, datetime


def now() -> datetime:
    """The current instant, in UTC."""
    return datetime.now(UTC)
