"""What nobody handled becomes an answer that a browser can read, and a log line that gives nothing away."""

import asyncio
import logging
import traceback
from collections.abc import Iterator

from asyncpg import InterfaceError
from fastapi.exceptions import ValidationException
from pydantic import ValidationError
from sqlalchemy.exc import StatementError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from audifi.core.db.errors import is_contended, is_pool_exhausted, is_unavailable, sqlstate
from audifi.core.http import problems
from audifi.core.http.problems import Problem

logger = logging.getLogger(__name__)

NOT_TEXT = {"22021", "22P05"}  # character_not_in_repertoire, untranslatable_character
CALLS_FOR_A_PROGRAMMER = {"internal", "database.busy"}


class AnswerCutShortError(Exception):
    """An answer that had begun can't be ended; the server, which gets this, cuts the connection."""


class FailuresMiddleware:
    """Turns unhandled errors into problems inside CORS; Starlette makes its 500 outside, where no page can read it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        has_started = has_ended = False

        async def send_watched(message: Message) -> None:
            nonlocal has_started, has_ended
            has_started = True
            has_ended = message["type"] == "http.response.body" and not message.get("more_body")
            await send(message)

        try:
            await self._app(scope, receive, send_watched)
        except asyncio.CancelledError:  # by the server, when its time to stop is over
            if has_started:
                raise
            problem = problems.stopping()
            logger.warning("%s %s: %s", scope["method"], problems.path(scope), problem.code)
            await problems.response(scope, problem)(scope, receive, send)
        except Exception as error:  # noqa: BLE001 - whatever it is, the client gets an answer
            problem = _problem(error)
            _log(scope, problem, error)
            if not has_started:
                await problems.response(scope, problem)(scope, receive, send)
            elif not has_ended:
                raise AnswerCutShortError from None  # not the error itself: the server would log what it says


def _problem(error: Exception) -> Problem:
    if any(_is_about_text(cause) for cause in chain(error)):
        return problems.malformed()
    if is_unavailable(error):
        return problems.database_unavailable()
    if is_contended(error):
        return problems.database_busy()
    return problems.internal()


def _is_about_text(error: BaseException) -> bool:
    """Half a character, or NUL. JSON may hold both, and no server's own text does; schemas should refuse them first."""
    is_half = isinstance(error, UnicodeEncodeError) and error.reason == "surrogates not allowed"
    return is_half or sqlstate(error) in NOT_TEXT


def _log(scope: Scope, problem: Problem, error: Exception) -> None:
    what = f"{scope['method']} {problems.path(scope)}: {problem.code}"
    # Not where there is only too much to do: a traceback takes 6 ms, as much as some requests, and makes it more.
    if problem.code in CALLS_FOR_A_PROGRAMMER and not is_pool_exhausted(error):
        # Not by exc_info, which writes out messages that hold values.
        logger.error("%s", what, extra={"exception": trace(error)})
        scope["state"]["failure"] = error  # for core/http/middleware/instrumentation
    else:
        logger.warning("%s: %s", what, " from ".join(describe(cause) for cause in chain(error)))


def trace(error: BaseException) -> str:
    """A traceback, the first cause first, as Python writes it, but with what `describe` tells of each."""
    causes = reversed(list(chain(error)))
    return "\n".join("".join(traceback.format_tb(cause.__traceback__)) + describe(cause) for cause in causes)


def describe(error: BaseException) -> str:
    """The error's type and message; without the latter where it quotes values: rows, parameters, what a client sent."""
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    if sqlstate(error) or isinstance(error, (StatementError, InterfaceError, ValidationError, ValidationException)):
        constraint = getattr(error, "constraint_name", None)
        facts = {"sqlstate": sqlstate(error), "constraint": constraint}
        told = ", ".join(f"{fact} {value}" for fact, value in facts.items() if value)
        return f"{name} ({told})" if told else name
    return f"{name}: {error!s}"


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what led to it, as Python's own tracebacks tell it."""
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
