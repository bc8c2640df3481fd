"""Whether an error means that PostgreSQL can't serve just now, so that asking again later makes sense."""

from collections.abc import Iterator

import asyncpg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

# https://www.postgresql.org/docs/16/errcodes-appendix.html. PgBouncer's own errors are of class 08.
AWAY = (
    "08",  # the connection broke, or was refused
    "28",  # the password was changed, or the role removed
    "3D000",  # there is no such database
    "53300",  # all connections are taken
    "57P",  # it is starting or stopping, or someone ended the connection
)
BUSY = (
    "40001",  # serialization failure
    "40P01",  # deadlock
    "55P03",  # lock_timeout
    "57014",  # statement_timeout
)


def is_database_away(error: BaseException) -> bool:
    """Whether it came of a database that couldn't be reached, refused the connection, or dropped it."""
    return any(
        bool(sqlstate(cause) and sqlstate(cause).startswith(AWAY))
        or (isinstance(cause, DBAPIError) and cause.connection_invalidated)
        # PostgreSQL has ended an idle connection, and asyncpg hasn't seen the end of it yet; it has no code of its own.
        or isinstance(cause, asyncpg.InternalClientError)
        or (isinstance(cause, OSError) and _came_through_asyncpg(cause))  # TimeoutError is one, and so is ssl.SSLError
        for cause in _causes(error)
    )


def is_database_busy(error: BaseException) -> bool:
    """Whether it came of a pool without a free connection, or a time limit or conflict that ended the statement."""
    return any(isinstance(cause, PoolTimeoutError) or sqlstate(cause) in BUSY for cause in _causes(error))


def is_pool_exhausted(error: BaseException) -> bool:
    """Whether it came of a pool without a free connection: of load, not of what the request does."""
    return any(isinstance(cause, PoolTimeoutError) for cause in _causes(error))


def sqlstate(error: BaseException) -> str:
    """PostgreSQL's code of five characters, of asyncpg's errors and of SQLAlchemy's copies of them; else empty."""
    return getattr(error, "sqlstate", None) or ""


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _came_through_asyncpg(error: BaseException) -> bool:
    """An OSError doesn't say whose it is: a file's, a mail server's. The frames that it passed do."""
    traceback = error.__traceback__
    while traceback is not None:
        if str(traceback.tb_frame.f_globals.get("__name__")).partition(".")[0] == "asyncpg":
            return True
        traceback = traceback.tb_next
    return False
