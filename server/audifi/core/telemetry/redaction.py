"""Descriptions of errors without personal data: for the log, error reports and the job queue."""

import re
import traceback
from collections.abc import Iterator

from asyncpg import InterfaceError
from sqlalchemy.exc import StatementError

from audifi.core.db.errors import sqlstate

SECRET = re.compile(r"[\w-]{40,}|[^\s@<>\"'(),;:=/]+@[^\s@<>\"'(),;:=/]+\.[A-Za-z]{2,}", re.ASCII)
"""What may be a token or an e-mail address. Our own log lines leave them out; this is for what libraries log."""


def redact(text: str) -> str:
    """Replace what may be a token or an e-mail address."""
    return SECRET.sub("REDACTED", text)


def format_traceback(error: BaseException) -> str:
    """Return a traceback as Python prints it, the first cause first, with each error as `describe_error` has it.

    The errors of a group come before the group.
    """
    parts = []
    for cause in reversed(list(iter_causes(error))):
        members = cause.exceptions if isinstance(cause, BaseExceptionGroup) else ()
        parts += [format_traceback(member) for member in members]
        parts.append("".join(traceback.format_tb(cause.__traceback__)) + describe_error(cause))
    return "\n".join(parts)


def describe_error(error: BaseException) -> str:
    """Return the error's type and message. The message is left out where it quotes values: rows, parameters, input."""
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    if sqlstate(error) or isinstance(error, (StatementError, InterfaceError)) or _is_validation_error(error):
        facts = {"sqlstate": sqlstate(error), "constraint": getattr(error, "constraint_name", None)}
        details = ", ".join(f"{fact} {value}" for fact, value in facts.items() if value)
        return f"{name} ({details})" if details else name
    return f"{name}: {error!s}"


def iter_causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield the error, then what caused it, as Python's own tracebacks follow it."""
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _is_validation_error(error: BaseException) -> bool:
    """Pydantic's and FastAPI's validation errors list their details, which quote the input, by `errors()`."""
    return callable(getattr(error, "errors", None))
