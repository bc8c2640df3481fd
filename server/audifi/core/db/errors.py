"""Classify errors of asyncpg: PostgreSQL is unavailable or read-only, or a statement met contention."""

from collections.abc import Iterator

import asyncpg

from audifi.core.db.semaphore import PoolTimeoutError

# SQLSTATEs, or their beginnings: https://www.postgresql.org/docs/16/errcodes-appendix.html
LOST = (
    "08",  # connection exception; PgBouncer's own errors
    "28",  # invalid authorization: the password was changed, or the role removed
    "3D000",  # the database does not exist
    "53300",  # too many connections
    "57P",  # the server starts or stops, or an administrator ended the connection
)
"""PostgreSQL refused the connection, or ended it."""
OUT_OF_RESOURCES = (
    "53000",  # insufficient resources
    "53100",  # disk full
    "53200",  # out of memory, or of shared memory for locks
    "57000",  # operator intervention
    "58000",  # system error
    "58030",  # I/O error
)
"""The statement failed and the connection goes on; later, the same statement may succeed."""
READ_ONLY = "25006"
"""The database is read-only because its disk is full, or this is a replica, as the old primary is after a failover."""
RETRYABLE = {
    "40001": "serialization_failure",
    "40P01": "deadlock",
}
CONTENDED = (
    *RETRYABLE,
    "25P03",  # idle_in_transaction_session_timeout: this process held a transaction for too long
    "25P04",  # transaction_timeout, of PostgreSQL 17
    "55P03",  # lock_timeout
    "57014",  # statement_timeout
)
# All others of classes 25, 53, 55, 57 and 58 are bugs, or need a person: 53400 (the statement exceeds a limit of the
# configuration, as it would again), 58P (a file of the data or of a library is missing), 25 and 55 (wrong statements).
FATAL = {"FATAL", "PANIC"}


class TransactionAbortedError(Exception):
    """COMMIT was a rollback, because an error of a statement was caught inside the transaction."""


def is_unavailable(error: BaseException) -> bool:
    """Return whether PostgreSQL couldn't be reached, ended the connection, or lacks disk, memory or the like."""
    return is_disconnected(error) or any(sqlstate(cause) in OUT_OF_RESOURCES for cause in _causes(error))


def is_disconnected(error: BaseException) -> bool:
    """Return whether PostgreSQL couldn't be reached, refused the connection, or ended it."""
    return any(
        sqlstate(cause).startswith(LOST)
        or (_severity(cause) in FATAL and sqlstate(cause) not in CONTENDED)
        # What asyncpg raises on a connection that PostgreSQL has ended, before and after it noticed: no SQLSTATE.
        or isinstance(cause, asyncpg.InternalClientError)
        or (isinstance(cause, asyncpg.InterfaceError) and "connection is closed" in str(cause))
        or (isinstance(cause, OSError) and _passed_asyncpg(cause))  # TimeoutError and ssl.SSLError are OSErrors
        for cause in _causes(error)
    )


def is_read_only(error: BaseException) -> bool:
    """Return whether the database accepts no writes at the moment."""
    return any(sqlstate(cause) == READ_ONLY for cause in _causes(error))


def is_contended(error: BaseException) -> bool:
    """Return whether a pool was exhausted, or a time limit or a conflict ended a statement."""
    return is_pool_exhausted(error) or any(sqlstate(cause) in CONTENDED for cause in _causes(error))


def is_pool_exhausted(error: BaseException) -> bool:
    """Return whether a pool had no free connection in time."""
    return any(isinstance(cause, PoolTimeoutError) for cause in _causes(error))


def leaves_clean(error: BaseException) -> bool:
    """Return whether the connection can be used again after this error: the server has ended the statement.

    One that is read-only can't: a new connection may lead to the new primary, or have the setting that is in force now.
    """
    is_ended = isinstance(error, (asyncpg.PostgresError, TransactionAbortedError))
    return is_ended and not (is_disconnected(error) or is_read_only(error))


def is_retryable(error: BaseException) -> bool:
    """Return whether the same transaction, run again, may succeed."""
    return sqlstate(error) in RETRYABLE


def constraint_name(error: BaseException) -> str | None:
    """Return the name of the violated constraint."""
    return getattr(error, "constraint_name", None)


def sqlstate(error: BaseException) -> str:
    """Return PostgreSQL's code of five characters, or an empty string."""
    return getattr(error, "sqlstate", None) or ""


def _severity(error: BaseException) -> str:
    """Return ERROR, FATAL or PANIC in English; `severity` alone is translated, or PgBouncer's."""
    return getattr(error, "severity_en", None) or getattr(error, "severity", None) or ""


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
