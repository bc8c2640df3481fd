"""Errors as data: one family, one form (RFC 9457, application/problem+json).

Raise a `Problem` beside the code that knows what is wrong; the edge makes the answer. What FastAPI and Starlette raise
themselves is turned into one here, and never repeats what the client sent: it may be a token.
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
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import Scope

from audifi.core.request_id import request_id

MEDIA_TYPE = "application/problem+json"
METHODS = "GET HEAD POST PUT PATCH DELETE OPTIONS".split()
MAX_ERRORS = 20  # of a body with ten thousand wrong members
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,31}")  # too short for any of our tokens


class FieldError(BaseModel):
    """What is wrong with one value of the request."""

    code: str
    """pydantic's type of error: https://docs.pydantic.dev/latest/errors/validation_errors/."""
    detail: str
    pointer: str | None = None
    """Where in the body: a JSON pointer (RFC 6901), `/email`; empty for the body as a whole."""
    parameter: str | None = None
    """Or which parameter, of the path, the query, a header or a cookie."""


class ProblemDetails(BaseModel):
    """RFC 9457. A problem may have further members."""

    type: str
    title: str
    status: int
    detail: str | None = None
    instance: str
    """The path that was asked for."""
    code: str
    """Stable: to be told apart by programs. Titles and details may change."""
    request_id: str
    errors: list[FieldError] | None = None


PROBLEM_CONTENT = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}}


class Problem(Exception):  # noqa: N818 - RFC 9457's word
    """An answer that isn't a success.

    Args:
        status: the HTTP status.
        code: stable, dotted: `magic_link.invalid`. Clients decide by it.
        title: for a person, the same each time.
        detail: for a person, about this time.
        headers: any number by one name, so that several cookies can be cleared; may be added to until it is answered.
        errors: about single values of the request.
        extensions: further members (RFC 9457, 3.2), of anything that FastAPI could answer with.
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
        **extensions: Any,
    ) -> None:
        super().__init__(f"{status} {code}")
        self.status = status
        self.code = code
        self.title = title
        self.detail = detail
        self.headers = list(headers)
        self.errors = list(errors)
        self.extensions = extensions


def response(scope: Scope, problem: Problem) -> Response:
    """The answer to the request of this scope."""
    body = {
        # Not about:blank, which promises no more meaning than the status has (RFC 9457, 4.2.1), and not https: that
        # would promise a page. A name that leads nowhere is allowed (3.1.1), and as stable as the code.
        "type": f"urn:audifi:problem:{problem.code}",
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail,
        "instance": path(scope),
        "code": problem.code,
        "request_id": request_id(scope),
        "errors": [error.model_dump(exclude_none=True) for error in problem.errors],
    }
    body = {name: value for name, value in body.items() if value not in (None, [])}
    body |= jsonable_encoder(problem.extensions)
    answer = Response(
        json.dumps(body),  # in ASCII: half a character, which JSON lets in, has no UTF-8
        problem.status,
        media_type=MEDIA_TYPE,
        headers={"Cache-Control": "no-store"},
    )
    for name, value in problem.headers:
        answer.headers.append(name, value)
    return answer


def path(scope: Scope) -> str:
    """What was asked for, without its query, as a URI reference; fit for a log line, too."""
    return without_secrets(quote(scope["path"]))


def without_secrets(path: str) -> str:
    """A path without what may be a token, put there by mistake: any 40 letters, digits, - and _ on end."""
    return re.sub(r"[\w.~-]{40,}", "REDACTED", path, flags=re.ASCII)


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For a route's `responses`: these statuses are answered with a problem. Needs `install` for the schema."""
    return {status: {"description": HTTPStatus(status).phrase, "content": PROBLEM_CONTENT} for status in statuses}


def install(app: FastAPI) -> None:
    """Have the app answer with problems, and its OpenAPI document say so."""

    async def answer(connection: HTTPConnection, error: Exception) -> Response:
        return response(connection.scope, _problem(connection, error))

    for kind in (Problem, HTTPException, RequestValidationError):
        app.add_exception_handler(kind, answer)
    _document(app)


def _problem(connection: HTTPConnection, error: Exception) -> Problem:
    if isinstance(error, RequestValidationError):
        return _of_validation(error)
    if isinstance(error, HTTPException):
        return _of_status(connection, error)
    assert isinstance(error, Problem)  # noqa: S101 - there are no others
    return error


def _of_validation(error: RequestValidationError) -> Problem:
    details = error.errors()
    if any(detail["type"] == "json_invalid" and detail["loc"][0] == "body" for detail in details):
        return malformed()
    # FastAPI leaves a body that doesn't say that it is JSON as bytes, and has the schema fail on them.
    if isinstance(error.body, bytes) and any(detail["loc"][0] == "body" for detail in details):
        return unsupported_media_type()
    return Problem(
        422,
        "request.invalid",
        "The request isn't valid",
        errors=[_field_error(detail) for detail in details[:MAX_ERRORS]],
    )


def malformed() -> Problem:
    return Problem(400, "request.malformed", "The body can't be read", "Send JSON, in UTF-8, not nested deeply.")


def too_large() -> Problem:
    """What is left of the body isn't read, so the connection can't be used again."""
    return Problem(413, "request.too_large", "The body is too large", headers=[("Connection", "close")])


def unsupported_media_type() -> Problem:
    """RFC 9110, 15.5.16: Accept tells what would have done."""
    return Problem(
        415,
        "request.unsupported_media_type",
        "The body has another type than is read here",
        "Send it as `Content-Type: application/json`.",
        headers=[("Accept", "application/json")],
    )


def _field_error(detail: dict[str, Any]) -> FieldError:
    place, *names = detail["loc"]
    return FieldError(
        code=detail["type"],
        detail=_message(detail),
        pointer="".join(f"/{name}" for name in _known(names)) if place == "body" else None,
        parameter=next(_known(names), None) if place != "body" else None,
    )


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
            headers = [("Allow", ", ".join(_allowed_methods(connection)))]
        case HTTPStatus.CONTENT_TOO_LARGE:
            return too_large()
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


def _document(app: FastAPI) -> None:
    """Extend FastAPI's document: any operation may answer with a problem, and none with FastAPI's own form of a 422."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        document = generate()  # which is kept: what follows may be done to it again
        components = document.setdefault("components", {})
        schemas = components.setdefault("schemas", {})
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        own = ProblemDetails.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas |= own.pop("$defs") | {ProblemDetails.__name__: own}
        components["responses"] = {"Problem": {"description": "A problem", "content": PROBLEM_CONTENT}}
        for operations in document["paths"].values():
            for operation in operations.values():
                answers = operation["responses"]
                if "HTTPValidationError" in str(answers.get("422")):
                    answers["422"] = problem_responses(422)[422]
                answers["default"] = {"$ref": "#/components/responses/Problem"}
        return document

    # https://fastapi.tiangolo.com/how-to/extending-openapi/
    app.openapi = openapi  # type: ignore[method-assign]
