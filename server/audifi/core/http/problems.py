"""Errors as data: one family, one form (RFC 9457, application/problem+json).

Raise a `Problem` beside the code that knows what is wrong; the edge makes the answer. What FastAPI and Starlette raise
themselves is turned into one here, and never repeats what the client sent: it may be a token.
"""

import json  # noqa: I001
import re
from collections.abc import Iterator, Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from pydantic import Field
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import Scope

from audifi.core.http.middleware.request_id import request_id
from audifi.core.db.pagination import InvalidCursorError
from audifi.core.http.schemas import Schema
from audifi.core.rate_limiting.limits import RateLimitExceededError

MEDIA_TYPE = "application/problem+json"
METHODS = "GET HEAD POST PUT PATCH DELETE OPTIONS".split()
MAX_ERRORS = 20  # of a body with ten thousand wrong members
RETRY_SOON = [("Retry-After", "5")]
CLOSE = [("Connection", "close")]  # where what is left of a request isn't read: the connection can't be used again
PATH_MAX_LENGTH = 1024  # of what is told of it
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,31}")  # too short for any of our tokens


class FieldError(Schema):
    """What is wrong with one value of the request."""

    code: str = Field(examples=["string_too_long"])
    """pydantic's type of error: https://docs.pydantic.dev/latest/errors/validation_errors/."""
    detail: str = Field(examples=["String should have at most 80 characters"])
    """For a person."""
    pointer: str = Field(default="", examples=["/email"])
    """Where in the body: a JSON pointer (RFC 6901); empty for the body as a whole."""
    parameter: str = Field(default="", examples=["limit"])
    """Or which parameter, of the path, the query, a header or a cookie."""


class ProblemDetails(Schema):
    """RFC 9457."""

    type: str = Field(examples=["urn:audifi:problem:request.invalid"])
    """The code, as a URI."""
    title: str = Field(examples=["The request isn't valid"])
    """For a person; the same each time."""
    status: int = Field(examples=[422])
    """The HTTP status."""
    detail: str = Field(default="", examples=["Send it again."])
    """For a person, about this time."""
    instance: str = Field(examples=["/api/v1/auth/me"])
    """The path that was asked for."""
    code: str = Field(examples=["request.invalid"])
    """Stable: to be told apart by programs. Titles and details may change."""
    request_id: str = Field(examples=["4b1d9c2e7f6a4f0f9d6b0c5a3e8d7f21"])
    """What this request is called in the logs."""
    errors: list[FieldError] = Field(default_factory=list)
    """What is wrong with single values of the request, at most 20 of them."""


class Problem(Exception):  # noqa: N818 - RFC 9457's word
    """An answer that isn't a success.

    Args:
        status: the HTTP status.
        code: stable, dotted: `magic_link.invalid`. Clients decide by it.
        title: for a person, the same each time.
        detail: for a person, about this time.
        headers: any number by one name, so that several cookies can be cleared; may be added to until it is answered.
        errors: about single values of the request.
        model: the schema of the answer, where it has further members.
        extensions: these (RFC 9457, 3.2), of anything that FastAPI could answer with.
    """

    def __init__(  # noqa: PLR0913 - the members of RFC 9457
        self,
        status: int,
        code: str,
        title: str,
        detail: str | None = None,
        *,
        headers: Sequence[tuple[str, str]] = (),
        errors: Sequence[FieldError] = (),
        model: type[ProblemDetails] = ProblemDetails,
        **extensions: Any,
    ) -> None:
        super().__init__(f"{status} {code}")
        self.status = status
        self.code = code
        self.title = title
        self.detail = detail
        self.headers = list(headers)
        self.errors = list(errors)
        self.model = model
        self.extensions = extensions
        self.limit: str | None = None
        """Of a 429: which limit was reached."""


def response(scope: Scope, problem: Problem) -> Response:
    """The answer to the request of this scope."""
    answer = Response(
        # In ASCII: half a character, which JSON lets in, has no UTF-8.
        json.dumps(members(problem, instance=path(scope), request_id=request_id(scope))),
        problem.status,
        media_type=MEDIA_TYPE,
        headers={"Cache-Control": "no-store"},
    )
    for name, value in problem.headers:
        answer.headers.append(name, value)
    scope.setdefault("state", {})["problem"] = problem  # for core/http/middleware/instrumentation
    return answer


def members(problem: Problem, *, instance: str, request_id: str) -> dict[str, Any]:
    """The answer, in JSON's types."""
    body = {
        # Not about:blank, which promises no more meaning than the status has (RFC 9457, 4.2.1), and not https: that
        # would promise a page. A name that leads nowhere is allowed (3.1.1), and as stable as the code.
        "type": f"urn:audifi:problem:{problem.code}",
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail,
        "instance": instance,
        "code": problem.code,
        "request_id": request_id,
        "errors": [error.model_dump(exclude_unset=True) for error in problem.errors],
    }
    told = {name: value for name, value in body.items() if value not in (None, [])}
    extensions: dict[str, Any] = jsonable_encoder(problem.extensions)
    return told | extensions


def path(scope: Scope) -> str:
    """What was asked for, without its query, as a URI reference; fit for a log line, too.

    With one slash at its start: two would make it a reference to another host (RFC 3986, 4.2).
    """
    return without_secrets(re.sub("^/+", "/", quote(scope["path"])))[:PATH_MAX_LENGTH]


def without_secrets(path: str) -> str:
    """A path without what may be a token, put there by mistake: any 40 letters, digits, - and _ on end."""
    return re.sub(r"[\w.~-]{40,}", "REDACTED", path, flags=re.ASCII)


class ReadingError(HTTPException):
    """A problem that comes up while a body is read. Of what goes wrong there, FastAPI lets only HTTPExceptions out."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.status)
        self.problem = problem


def install(app: FastAPI) -> None:
    """Have the app answer with problems."""

    async def answer(connection: HTTPConnection, error: Exception) -> Response:
        return response(connection.scope, _problem(connection, error))

    for kind in (Problem, HTTPException, RequestValidationError, RateLimitExceededError, InvalidCursorError):
        app.add_exception_handler(kind, answer)


def _problem(connection: HTTPConnection, error: Exception) -> Problem:
    if isinstance(error, RequestValidationError):
        return _of_validation(error)
    if isinstance(error, ReadingError):
        return error.problem
    if isinstance(error, InvalidCursorError):
        return cursor_invalid()
    if isinstance(error, HTTPException):
        return _of_status(connection, error)
    if isinstance(error, RateLimitExceededError):
        return rate_limit_exceeded(error)
    assert isinstance(error, Problem)  # noqa: S101 - there are no others
    return error


def _of_validation(error: RequestValidationError) -> Problem:
    details = error.errors()
    if any(detail["type"] == "json_invalid" and detail["loc"][0] == "body" for detail in details):
        return malformed()
    # FastAPI leaves a body that doesn't say that it is JSON as bytes, and has the schema fail on them.
    if isinstance(error.body, bytes) and any(detail["loc"][0] == "body" for detail in details):
        return unsupported_media_type()
    return invalid([_field_error(detail) for detail in details[:MAX_ERRORS]])


def invalid(errors: Sequence[FieldError]) -> Problem:
    return Problem(422, "request.invalid", "The request isn't valid", errors=errors)


def malformed() -> Problem:
    return Problem(400, "request.malformed", "The body can't be read", "Send JSON, in UTF-8, not nested deeply.")


def too_large() -> Problem:
    return Problem(413, "request.too_large", "The body is too large", headers=CLOSE)


def timeout() -> Problem:
    return Problem(408, "request.timeout", "The request took too long to come", "Try again.", headers=CLOSE)


def not_http() -> Problem:
    return Problem(400, "request.not_http", "This isn't an HTTP request", headers=CLOSE)


def head_too_large() -> Problem:
    return Problem(431, "request.head_too_large", "The head of the request is too large", headers=CLOSE)


def unsupported_media_type() -> Problem:
    """RFC 9110, 15.5.16: Accept tells what would have done."""
    return Problem(
        415,
        "request.unsupported_media_type",
        "The body has another type than is read here",
        "Send it as `Content-Type: application/json`.",
        headers=[("Accept", "application/json")],
    )


def not_found() -> Problem:
    """Also for what belongs to somebody else: whether it exists is none of the client's business."""
    return Problem(404, "not_found", "Not found", "There is nothing here, or it isn't yours.")


def cursor_invalid() -> Problem:
    return Problem(
        400,
        "cursor.invalid",
        "Invalid cursor",
        "Use `next_cursor` of the previous page, with the same sort and filters.",
    )


def rate_limit_exceeded(error: RateLimitExceededError) -> Problem:
    """RFC 6585, 4, with Retry-After (RFC 9110, 10.2.3)."""
    headers = [("Retry-After", str(error.status.reset_seconds)), *error.status.headers]
    problem = Problem(429, "rate_limit.exceeded", "Too many requests", error.detail, headers=headers)
    problem.limit = error.status.limit.name
    return problem


def database_unavailable() -> Problem:
    return Problem(
        503, "database.unavailable", "The database can't be reached", "Try again in a moment.", headers=RETRY_SOON
    )


def database_busy() -> Problem:
    return Problem(503, "database.busy", "The database is busy", "Try again in a moment.", headers=RETRY_SOON)


def overloaded(retry_after: int) -> Problem:
    """RFC 9110, 15.6.4."""
    return Problem(
        503,
        "server.overloaded",
        "The server has too much to do",
        "Nothing was done. Try again in some seconds.",
        headers=[("Retry-After", str(retry_after))],
    )


def stopping() -> Problem:
    return Problem(
        503, "server.stopping", "This server is stopping", "Another has taken its place.", headers=[*RETRY_SOON, *CLOSE]
    )


def internal() -> Problem:
    return Problem(500, "internal", "Something went wrong here", "It has been logged under this request_id.")


def _field_error(detail: dict[str, Any]) -> FieldError:
    place, *names = detail["loc"]
    error = FieldError(code=detail["type"], detail=_message(detail))
    if place == "body":
        error.pointer = "".join(f"/{name}" for name in _known(names))
    elif name := next(_known(names), None):
        error.parameter = name
    return error


def _known(names: Sequence[str | int]) -> Iterator[str]:
    """Up to the first that isn't like a name of ours: a member that isn't known is what the client wrote, and any text.

    None of them has a character that RFC 6901, 3 wants escaped.
    """
    for name in names:
        if isinstance(name, str) and not NAME.fullmatch(name):
            return
        yield str(name)


def _message(detail: dict[str, Any]) -> str:
    """pydantic's sentence, unless it quotes what was given."""
    message: str = detail["msg"].removeprefix("Value error, ")
    given = detail.get("ctx", {}).get("tag", detail.get("input"))
    return "This value isn't valid" if given and isinstance(given, str) and given in message else message


def _of_status(connection: HTTPConnection, error: HTTPException) -> Problem:
    status = HTTPStatus(error.status_code)
    headers = list((error.headers or {}).items())
    match status:
        case HTTPStatus.BAD_REQUEST:  # their parsers', of whatever isn't a JSONDecodeError
            return malformed()
        case HTTPStatus.NOT_FOUND:
            code, title = "not_found", "There is nothing here"
        case HTTPStatus.METHOD_NOT_ALLOWED:
            code, title = "method_not_allowed", "Not by this method"
            headers = [("Allow", ", ".join(_allowed_methods(connection) or ["GET", "HEAD"]))]  # a mount's files
        case _:
            code, title = re.sub(r"[^a-z]+", "_", status.phrase.lower()), status.phrase
    detail = None if error.detail == status.phrase else error.detail  # which is Starlette's default
    return Problem(status, code, title, detail, headers=headers)


def _allowed_methods(connection: HTTPConnection) -> list[str]:
    """Of all routes of the path (RFC 9110, 15.5.6); Starlette names those of the first one alone."""
    scope = {"type": "http", "headers": [], **{name: connection.scope[name] for name in ("path", "root_path")}}
    routes = connection.app.router.routes
    return [
        method
        for method in METHODS
        if any(route.matches(scope | {"method": method})[0] is Match.FULL for route in routes)
    ]
