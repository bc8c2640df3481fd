"""Classify errors of asyncpg: whether PostgreSQL is unavailable, or a statement met contention."""

from collections.abc import Iterator

import asyncpg

from audifi.core.db.semaphore import PoolTimeoutError

# https://www.postgresql.org/docs/16/errcodes-appendix.html. PgBouncer's own errors are of class 08.
UNAVAILABLE = (
    "08",  # connection exception
    "28",  # invalid authorization: the password was changed, or the role removed
    "3D000",  # the database does not exist
    "53300",  # too many connections
    "57P",  # the server starts or stops, or an administrator ended the connection
)
RETRYABLE = (
    "40001",  # serialization failure
    "40P01",  # deadlock
)
CONTENDED = (
    *RETRYABLE,
    "55P03",  # lock_timeout
    "57014",  # statement_timeout
)


class TransactionAbortedError(Exception):
    """COMMIT was a rollback, because an error of a statement was caught inside the transaction."""


def is_unavailable(error: BaseException) -> bool:
    """Return whether PostgreSQL couldn't be reached, refused the connection, or dropped it."""
    return any(
        sqlstate(cause).startswith(UNAVAILABLE)
        # What asyncpg raises on a connection that PostgreSQL has ended, before and after it noticed: no SQLSTATE.
        or isinstance(cause, asyncpg.InternalClientError)
        or (isinstance(cause, asyncpg.InterfaceError) and "connection is closed" in str(cause))
        or (isinstance(cause, OSError) and _passed_asyncpg(cause))  # TimeoutError and ssl.SSLError are OSErrors
        for cause in _causes(error)
    )


def is_contended(error: BaseException) -> bool:
    """Return whether a pool was exhausted, or a time limit or a conflict ended a statement."""
    return is_pool_exhausted(error) or any(sqlstate(cause) in CONTENDED for cause in _causes(error))


def is_pool_exhausted(error: BaseException) -> bool:
    """Return whether a pool had no free connection in time."""
    return any(isinstance(cause, PoolTimeoutError) for cause in _causes(error))


def leaves_clean(error: BaseException) -> bool:
    """Return whether the connection can be reused after this error: the server has ended the statement."""
    return isinstance(error, (asyncpg.PostgresError, TransactionAbortedError)) and not is_unavailable(error)


def is_retryable(error: BaseException) -> bool:
    """Return whether the same transaction, run again, may succeed."""
    return sqlstate(error) in RETRYABLE


def constraint_name(error: BaseException) -> str | None:
    """Return the name of the violated constraint."""
    return getattr(error, "constraint_name", None)


def sqlstate(error: BaseException) -> str:
    """Return PostgreSQL's code of five characters, or an empty string."""
    return getattr(error, "sqlstate", None) or ""


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _passed_asyncpg(error: BaseException) -> bool:
    """Return whether an OSError was raised through asyncpg: its type is the same for sockets and files."""
    traceback = error.__traceback__
    while traceback is not None:
        if str(traceback.tb_frame.f_globals.get("__name__")).partition(".")[0] == "asyncpg":
            return True
        traceback = traceback.tb_next
    return False
