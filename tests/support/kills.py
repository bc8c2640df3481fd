"""A server that is killed after any of its statements."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from audifi.core.db.database import Database
from tests.support import databases

LAST = 40
"""More than the statements of what is killed."""


class KilledError(BaseException):
    """What no handler catches. The pool drops the connection, as a process that dies does."""


class Fuse:
    """Lets some statements pass, and kills after the next one."""

    def __init__(self, statements: int) -> None:
        self.left = statements

    @contextmanager
    def __call__(self, _sql: str) -> Iterator[None]:
        yield
        self.left -= 1
        if self.left < 0:
            raise KilledError


async def killed(url: str, work: Callable[[Database], Awaitable[object]], statements: int) -> bool:
    """Run it on connections of its own; return whether it was killed."""
    settings = databases.settings_for(url)
    async with Database(settings, pool_size=2, read_pool_size=1, trace=Fuse(statements)) as database:
        try:
            await work(database)
        except KilledError:
            return True
    return False
