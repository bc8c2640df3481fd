"""The type of clocks, the real clock, and durations as text. Services have a clock; tests pass their own."""

from collections.abc import Callable
from datetime import UTC, datetime

type Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """Return the current time in UTC."""
    return datetime.now(UTC)


def format_duration(seconds: float) -> str:
    """Return a duration for people, in its largest unit: "3 minutes"."""
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= size:
            count = round(seconds / size)
            return f"{count} {unit}{'s' if count != 1 else ''}"
    return f"{seconds:.0f} second{'s' if seconds != 1 else ''}"
