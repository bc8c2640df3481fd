"""Turns unhandled errors into problems, and logs them without personal data."""

import logging

from audifi.core.db.errors import is_contended, is_pool_exhausted, is_read_only, is_unavailable, sqlstate
from audifi.core.http import problems
from audifi.core.http.problems import Problem
from audifi.core.rate_limiting.limits import RateLimitExceededError
from audifi.core.telemetry.redaction import describe_error, format_traceback, iter_causes

logger = logging.getLogger(__name__)

UNSTORABLE_TEXT = {"22021", "22P05"}  # character_not_in_repertoire, untranslatable_character
OF_THE_DATABASE = (
    (is_unavailable, problems.database_unavailable),
    (is_read_only, problems.database_read_only),
    (is_contended, problems.database_busy),
)
NEEDS_A_TRACEBACK = {"internal", "database.busy"}


class IncompleteResponseError(Exception):
    """A started response can't be completed. Makes uvicorn close the connection."""


def problem_for(error: Exception) -> Problem:
    """Return the problem for an unhandled error."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, RateLimitExceededError):
        return problems.rate_limit_exceeded(error)
    if any(_is_unstorable_text(cause) for cause in iter_causes(error)):
        return problems.malformed()
    return next((problem() for applies, problem in OF_THE_DATABASE if applies(error)), problems.internal())


def log_error(method: str, path: str, problem: Problem, error: Exception) -> bool:
    """Log an unhandled error; return whether to report it to developers.

    A full pool doesn't: a traceback takes 6 ms, as much as several requests, and would add to the load.
    """
    if problem.code in NEEDS_A_TRACEBACK and not is_pool_exhausted(error):
        # Not by exc_info, whose formatting repeats messages with values.
        logger.error("%s %s: %s", method, path, problem.code, extra={"exception": format_traceback(error)})
        return True
    causes = " from ".join(map(describe_error, iter_causes(error)))
    logger.warning("%s %s: %s: %s", method, path, problem.code, causes)
    return False


def _is_unstorable_text(error: BaseException) -> bool:
    """Return whether a text has a lone surrogate or NUL, which JSON allows and PostgreSQL doesn't."""
    is_half = isinstance(error, UnicodeEncodeError) and error.reason == "surrogates not allowed"
    return is_half or sqlstate(error) in UNSTORABLE_TEXT
