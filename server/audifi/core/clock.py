"""Time comes in from outside: services hold a clock, routes depend on `Now`, and tests pass their own."""

from collections.abc import Callable
from datetime import UTC, datetime

type Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The current instant, in UTC."""
    return datetime.now(UTC)
