"""Time comes in from outside: routes take `now` from here and pass it down, so that tests can pass their own."""

from collections.abc import Callable
from datetime import UTC, datetime

from starlette.requests import HTTPConnection

type Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The current instant, in UTC."""
    return datetime.now(UTC)


async def now(connection: HTTPConnection) -> datetime:
    """The instant of a request. Async, because FastAPI runs other dependencies in a thread, of which it has few."""
    clock: Clock = connection.app.state.clock
    return clock()
