"""Errors as data: application/problem+json (RFC 9457) for every error response.

Raise a `Problem` beside the code that knows what is wrong. Errors of FastAPI and Starlette are turned into problems
here, which never repeat the client's input: it may be a token.
"""

import json
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

from audifi.core.db.pagination import InvalidCursorError
from audifi.core.http.schemas import ResponseModel
from audifi.core.rate_limiting.limits import RateLimitExceededError
from audifi.core.telemetry.context import current_request_id

MEDIA_TYPE = "application/problem+json"
METHODS = "GET HEAD POST PUT PATCH DELETE OPTIONS".split()
MAX_ERRORS = 20  # of a body with ten thousand wrong members
RETRY_SOON = [("Retry-After", "5")]
CLOSE = [("Connection", "close")]  # the rest of the request isn't read, so the connection can't be used again
PATH_MAX_LENGTH = 1024
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,31}")  # too short for a token


class FieldError(ResponseModel):
    """An error of one value in the request."""

    code: str = Field(examples=["string_too_long"])
    """Pydantic's error type: https://docs.pydantic.dev/latest/errors/validation_errors/."""
    detail: str = Field(examples=["String should have at most 80 characters"])
    """An explanation for people."""
    pointer: str = Field(default="", examples=["/email"])
    """A JSON pointer (RFC 6901) into the body; empty for the whole body."""
    parameter: str = Field(default="", examples=["limit"])
    """The name of the path, query, header or cookie parameter."""


class ProblemDetails(ResponseModel):
    """An error response (RFC 9457)."""

    type: str = Field(examples=["urn:audifi:problem:request.invalid"])
    """The code, as a URI."""
    title: str = Field(examples=["Invalid request"])
    """A summary for people, the same for each occurrence."""
    status: int = Field(examples=[422])
    """The HTTP status."""
    detail: str = Field(default="", examples=["Try again in a moment."])
    """An explanation of this occurrence, for people."""
    instance: str = Field(examples=["/api/v1/auth/me"])
    """The path of the request."""
    code: str = Field(examples=["request.invalid"])
    """Stable, for programs. Titles and details may change."""
    request_id: str = Field(examples=["4b1d9c2e7f6a4f0f9d6b0c5a3e8d7f21"])
    """The request's id in the logs."""
    errors: list[FieldError] = Field(default_factory=list)
    """Errors of single values in the request, at most 20."""


class Problem(Exception):  # noqa: N818 - RFC 9457's word
    """An error response, raised.

    Args:
        status: the HTTP status.
        code: stable and dotted, noun.adjective: `magic_link.invalid`. Clients decide by it.
        title: a summary for people, the same for each occurrence.
        detail: an explanation of this occurrence, for people: what to do next.
        headers: a name may occur several times, to clear several cookies; more may be appended before the response.
        errors: of single values in the request.
        model: the response's schema, where it has extension members.
        extensions: these members (RFC 9457, 3.2), of any type that FastAPI can serialize.
    """

    def __init__(
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
        """Of a 429: the name of the limit."""


def response(scope: Scope, problem: Problem) -> Response:
    """Return the problem as the response to this request."""
    answer = Response(
        # ASCII: a lone surrogate, which JSON allows, has no UTF-8 encoding.
        json.dumps(members(problem, instance=path(scope), request_id=current_request_id.get())),
        problem.status,
        media_type=MEDIA_TYPE,
        headers={"Cache-Control": "no-store"},
    )
    for name, value in problem.headers:
        answer.headers.append(name, value)
    scope.setdefault("state", {})["problem"] = problem  # for the log and metrics
    return answer


def members(problem: Problem, *, instance: str, request_id: str) -> dict[str, Any]:
    """Return the response's members, in JSON's types."""
    body = {
        # Not about:blank, which means just the status (RFC 9457, 4.2.1), and not a URL, which would need a page. A URN
        # is allowed (3.1.1), and as stable as the code.
        "type": f"urn:audifi:problem:{problem.code}",
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail,
        "instance": instance,
        "code": problem.code,
        "request_id": request_id,
        "errors": [error.model_dump(exclude_unset=True) for error in problem.errors],
    }
    present = {name: value for name, value in body.items() if value not in (None, [])}
    return present | jsonable_encoder(problem.extensions) if problem.extensions else present


def path(scope: Scope) -> str:
    """Return the path without its query, as a URI reference; it may be logged.

    It starts with one slash: two would make it a reference to another host (RFC 3986, 4.2).
    """
    return without_secrets(re.sub("^/+", "/", quote(scope["path"])))[:PATH_MAX_LENGTH]


def without_secrets(path: str) -> str:
    """Replace possible tokens in a path: 40 or more letters, digits, hyphens and underscores in a row."""
    return re.sub(r"[\w.~-]{40,}", "REDACTED", path, flags=re.ASCII)


def install(app: FastAPI) -> None:
    """Register the handlers that answer errors with problems."""

    async def answer(connection: HTTPConnection, error: Exception) -> Response:
        return response(connection.scope, _problem(connection, error))

    for kind in (Problem, HTTPException, RequestValidationError, RateLimitExceededError, InvalidCursorError):
        app.add_exception_handler(kind, answer)


def _problem(connection: HTTPConnection, error: Exception) -> Problem:
    if isinstance(error, RequestValidationError):
        return _of_validation(error)
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
    # FastAPI doesn't parse a body without JSON's Content-Type: validation fails on the bytes.
    if isinstance(error.body, bytes) and any(detail["loc"][0] == "body" for detail in details):
        return unsupported_media_type()
    return invalid([_field_error(detail) for detail in details[:MAX_ERRORS]])


def invalid(errors: Sequence[FieldError]) -> Problem:
    return Problem(422, "request.invalid", "Invalid request", "Correct what `errors` names.", errors=errors)


def malformed() -> Problem:
    return Problem(400, "request.malformed", "Malformed JSON", "Send a UTF-8 JSON body, not deeply nested.")


def http_version_refused(version: str) -> Problem:
    """RFC 9112, 3: 400 for a request line without a version (HTTP/0.9). RFC 9110, 15.6.6: 505 for HTTP/2.0."""
    if version < "1":
        return Problem(
            400, "http_version.missing", "Missing HTTP version", "End the request line with HTTP/1.1.", headers=CLOSE
        )
    return Problem(
        505, "http_version.unsupported", "HTTP version not supported", "Send the request as HTTP/1.1.", headers=CLOSE
    )


def too_large() -> Problem:
    return Problem(413, "request.too_large", "Request body too large", "Send a smaller body.", headers=CLOSE)


def timeout() -> Problem:
    return Problem(
        408, "request.timeout", "Request timeout", "The body took too long to arrive. Try again.", headers=CLOSE
    )


def unsupported_media_type() -> Problem:
    """RFC 9110, 15.5.16: Accept names the supported type."""
    return Problem(
        415,
        "request.unsupported_media_type",
        "Unsupported media type",
        "Send a JSON body with `Content-Type: application/json`.",
        headers=[("Accept", "application/json")],
    )


def not_found() -> Problem:
    """Return the 404, also for another account's resources: a client must not learn that they exist."""
    return Problem(404, "not_found", "Not found", "The resource doesn't exist, or belongs to another account.")


def caller_unknown() -> Problem:
    return Problem(
        403,
        "caller.unknown",
        "Unknown caller",
        "TRUSTED_CALLERS has no such secret. Send the current one in AudiFi-Caller-Secret, or leave the header out.",
    )


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
    return Problem(503, "database.unavailable", "Database unavailable", "Try again in a moment.", headers=RETRY_SOON)


def database_read_only() -> Problem:
    return Problem(
        503,
        "database.read_only",
        "Database is read-only",
        "Nothing was changed. Reading works; try to write again later.",
        headers=RETRY_SOON,
    )


def database_busy() -> Problem:
    return Problem(503, "database.busy", "Database busy", "Try again in a moment.", headers=RETRY_SOON)


def overloaded(retry_after: int) -> Problem:
    """RFC 9110, 15.6.4."""
    return Problem(
        503,
        "server.overloaded",
        "Server overloaded",
        "The request wasn't processed. Try again in a few seconds.",
        headers=[("Retry-After", str(retry_after))],
    )


def stopping() -> Problem:
    return Problem(
        503,
        "server.stopping",
        "Server stopping",
        "Try again: another server has replaced this one.",
        headers=[*RETRY_SOON, *CLOSE],
    )


def internal() -> Problem:
    return Problem(500, "internal", "Internal server error", "The error was logged with this request_id.")


def _field_error(detail: dict[str, Any]) -> FieldError:
    place, *names = detail["loc"]
    error = FieldError(code=detail["type"], detail=_message(detail))
    if place == "body":
        error.pointer = "".join(f"/{name}" for name in _known(names))
    elif name := next(_known(names), None):
        error.parameter = name
    return error


def _known(names: Sequence[str | int]) -> Iterator[str]:
    """Yield names up to the first that isn't a schema's: clients can choose it, and put a secret into it.

    Schemas' names need no escaping (RFC 6901, 3).
    """
    for name in names:
        if isinstance(name, str) and not NAME.fullmatch(name):
            return
        yield str(name)


def _message(detail: dict[str, Any]) -> str:
    """Return Pydantic's message, unless it quotes the input."""
    message: str = detail["msg"].removeprefix("Value error, ")
    value = detail.get("ctx", {}).get("tag", detail.get("input"))
    return "Invalid value" if value and isinstance(value, str) and value in message else message


def _of_status(connection: HTTPConnection, error: HTTPException) -> Problem:
    status = HTTPStatus(error.status_code)
    headers = list((error.headers or {}).items())
    match status:
        case HTTPStatus.BAD_REQUEST:  # FastAPI's, for parser errors other than JSONDecodeError
            return malformed()
        case HTTPStatus.NOT_FOUND:
            code, title = "not_found", "Not found"
        case HTTPStatus.METHOD_NOT_ALLOWED:
            code, title = "method_not_allowed", "Method not allowed"
            headers = [("Allow", ", ".join(_allowed_methods(connection) or ["GET", "HEAD"]))]  # a mount's files
        case _:
            code, title = re.sub(r"[^a-z]+", "_", status.phrase.lower()), status.phrase
    detail = None if error.detail == status.phrase else error.detail  # the phrase is Starlette's default
    return Problem(status, code, title, detail, headers=headers)


def _allowed_methods(connection: HTTPConnection) -> list[str]:
    """Return the methods of all routes of the path (RFC 9110, 15.5.6); Starlette returns only the first route's."""
    scope = {"type": "http", "headers": [], **{name: connection.scope[name] for name in ("path", "root_path")}}
    routes = connection.app.router.routes
    allowed = {
        method
        for method in METHODS
        if any(route.matches(scope | {"method": method})[0] is Match.FULL for route in routes)
    }
    if "GET" in allowed:
        allowed.add("HEAD")  # HttpMiddleware has GET routes answer it
    return [method for method in METHODS if method in allowed]
