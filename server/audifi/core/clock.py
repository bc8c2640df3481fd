"""Time comes in from outside: routes take `now` from here and pass it down, so that tests can pass their own."""

from datetime import UTC, datetime


async def now() -> datetime:
    """The current instant, in UTC. Async, because FastAPI runs other dependencies in a thread, of which it has few."""
    return datetime.now(UTC)
