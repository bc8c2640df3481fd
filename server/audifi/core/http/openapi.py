"""The OpenAPI document: FastAPI's, with every problem that an operation can return.

Routes and dependencies declare their problems with `raises`. Problems of the middleware are added to all operations.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, RouteContext, iter_route_contexts

from audifi.core.http import problems
from audifi.core.http.middleware.request_id import HEADER
from audifi.core.http.problems import MEDIA_TYPE, FieldError, Problem, ProblemDetails
from audifi.core.http.routing import StrictRoute
from audifi.core.rate_limiting.limits import Limit, LimitStatus, RateLimitExceededError

OF_ANY = (problems.internal(),)
OF_CALLERS = (problems.caller_unknown(),)
OF_ANY_BODY = (
    problems.malformed(),
    problems.timeout(),
    problems.too_large(),
    problems.unsupported_media_type(),
)
INVALID = problems.invalid(
    [FieldError(code="missing", detail="Field required", pointer="/email")],
)
RATE_LIMITED = problems.rate_limit_exceeded(
    RateLimitExceededError(LimitStatus(Limit("client", 600, per=timedelta(minutes=1)), 0, 42))
)
REQUIRED_HEADERS = {"idempotency-key", "if-match"}
"""FastAPI takes them for optional: without one, the answer is a problem of its own instead of 422."""
SERVERS = [
    {"url": "https://audifi-api.fly.dev", "description": "Production"},
    {"url": "https://audifi-api-staging.fly.dev", "description": "Staging"},
    {"url": "http://localhost:8080", "description": "`make run`"},
]
HEADERS: dict[str, dict[str, Any]] = {
    HEADER: {
        "description": "The request's id in the logs: the client's `X-Request-ID` if valid, else a new one.",
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
        "example": "4b1d9c2e7f6a4f0f9d6b0c5a3e8d7f21",
    },
    "RateLimit-Policy": {
        "description": "The limits that apply to this request: quota (`q`) and window in seconds (`w`); "
        "draft-ietf-httpapi-ratelimit-headers-10.",
        "schema": {"type": "string"},
        "example": '"client";q=600;w=60',
    },
    "RateLimit": {
        "description": "The remaining quota of each limit (`r`), and the seconds until it resets (`t`).",
        "schema": {"type": "string"},
        "example": '"client";r=599;t=42',
    },
    "Retry-After": {
        "description": "Seconds to wait before retrying (RFC 9110, 10.2.3).",
        "schema": {"type": "integer", "minimum": 1},
        "example": 5,
    },
    "WWW-Authenticate": {
        "description": "The required authentication (RFC 6750, 3; RFC 9470, 3).",
        "schema": {"type": "string"},
        "example": 'Bearer error="invalid_token"',
    },
}
EXAMPLE_REQUEST_ID = HEADERS[HEADER]["example"]


def raises[F: Callable[..., Any]](*raised: Problem) -> Callable[[F], F]:
    """Declare the problems that a route or a dependency can raise, for the contract."""

    def mark(function: F) -> F:
        vars(function)["raises"] = raised
        return function

    return mark


def operation_id(route: APIRoute) -> str:
    """Return the name of the route's function in camel case; generated clients use it."""
    first, *rest = route.name.split("_")
    return first + "".join(map(str.capitalize, rest))


def install(app: FastAPI, *, limited: Callable[[str], bool]) -> None:
    """Complete the app's OpenAPI document.

    Args:
        limited: whether rate limits apply to a path.
    """
    generate = app.openapi

    # https://fastapi.tiangolo.com/how-to/extending-openapi/
    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            _complete(generate(), app, limited)
        assert app.openapi_schema  # noqa: S101 - generate() has kept it
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _complete(document: dict[str, Any], app: FastAPI, limited: Callable[[str], bool]) -> None:
    document["servers"] = SERVERS
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    if schemes := components.get("securitySchemes"):  # the token before the cookies
        components["securitySchemes"] = dict(sorted(schemes.items(), key=lambda item: item[1]["type"] != "http"))
    components["headers"] = HEADERS
    examples = components["examples"] = {}
    for context in iter_route_contexts(app.routes):
        if not isinstance(context.original_route, APIRoute) or not context.include_in_schema:
            continue
        path = str(context.path_format)
        for method in context.methods or ():
            operation = document["paths"][path][method.lower()]
            _require_headers(operation)
            raised = list(_raised(context, operation, is_limited=limited(path)))
            for problem in raised:
                _add_schema(schemas, problem.model)
                examples[problem.code] = {"summary": problem.title, "value": _example(problem)}
            _document_answers(operation, raised, is_limited=limited(path))
            operation.setdefault("security", [])  # explicitly none
    components["responses"] = _share_answers(document["paths"])


def _require_headers(operation: dict[str, Any]) -> None:
    for parameter in operation.get("parameters", ()):
        if parameter["name"] in REQUIRED_HEADERS:
            parameter["required"] = True
            parameter["schema"] |= parameter["schema"].pop("anyOf")[0]  # the second is null


def _raised(context: RouteContext, operation: dict[str, Any], *, is_limited: bool) -> Iterator[Problem]:
    yield from OF_ANY
    if is_limited:
        yield problems.overloaded(3)
        yield RATE_LIMITED
        yield from OF_CALLERS
    if "requestBody" in operation:
        yield from OF_ANY_BODY
    if "requestBody" in operation or "parameters" in operation or isinstance(context.original_route, StrictRoute):
        yield INVALID
    if any(parameter["name"] == "cursor" for parameter in operation.get("parameters", ())):
        yield problems.cursor_invalid()
    yield from _raised_by(context.dependant)


def _raised_by(dependant: Dependant) -> Iterator[Problem]:
    yield from getattr(dependant.call, "raises", ())
    for each in dependant.dependencies:
        yield from _raised_by(each)


def _document_answers(
    operation: dict[str, Any],
    raised: Sequence[Problem],
    *,
    is_limited: bool,
) -> None:
    answers = operation["responses"]
    if "HTTPValidationError" in str(answers.get("422")):
        del answers["422"]
    headers = [HEADER, *(["RateLimit-Policy", "RateLimit"] if is_limited else [])]
    for answer in answers.values():
        answer["headers"] = _headers(headers)
        if answer["description"] == "Successful Response":
            answer["description"] = "Done."
    for status in sorted({problem.status for problem in raised}):
        status_problems = list({problem.code: problem for problem in raised if problem.status == status}.values())
        # The server raises these before it counts a request.
        is_early = all(problem in (*OF_ANY, *OF_ANY_BODY, *OF_CALLERS) for problem in status_problems)
        answer = _answer(status, status_problems, [HEADER] if is_early else headers)
        if str(status) in answers:  # the 503 of health has its own schema
            answer["content"] |= answers[str(status)]["content"]
        answers[str(status)] = answer


def _share_answers(paths: dict[str, Any]) -> dict[str, Any]:
    """Replace each error status's most common answer by a reference: repeated, they would be half of the document.

    Returns:
        The answers, by their names in `components.responses`.
    """
    uses: dict[str, list[tuple[dict[str, Any], Any]]] = {}
    for operation in (operation for operations in paths.values() for operation in operations.values()):
        for status, answer in operation["responses"].items():
            if status >= "400":
                uses.setdefault(status, []).append((operation["responses"], answer))
    shared = {}
    for status, answers in sorted(uses.items()):
        everyone = [answer for _, answer in answers]
        common = max(everyone, key=everyone.count)
        if everyone.count(common) == 1:
            continue
        name = HTTPStatus(int(status)).phrase.title().replace(" ", "")
        shared[name] = common
        for responses, answer in answers:
            if answer == common:
                responses[status] = {"$ref": f"#/components/responses/{name}"}
    return shared


def _answer(status: int, raised: Sequence[Problem], headers: Sequence[str]) -> dict[str, Any]:
    problem_headers = {name for problem in raised for name, _ in problem.headers} & HEADERS.keys()
    schemas = [
        _schema(model, [problem.code for problem in raised if problem.model is model])
        for model in dict.fromkeys(problem.model for problem in raised)
    ]
    return {
        "description": HTTPStatus(status).phrase,
        "headers": _headers([*headers, *sorted(problem_headers - set(headers))]),
        "content": {
            MEDIA_TYPE: {
                "schema": schemas[0] if len(schemas) == 1 else {"oneOf": schemas},
                "examples": {problem.code: {"$ref": f"#/components/examples/{problem.code}"} for problem in raised},
            }
        },
    }


def _schema(model: type[ProblemDetails], codes: Sequence[str]) -> dict[str, Any]:
    """Return the schema of the problems with these codes, so that a code tells which members there are."""
    code = {"type": "string", "enum": list(codes)}
    properties = {"type": "object", "required": ["code"], "properties": {"code": code}}
    return {"allOf": [{"$ref": f"#/components/schemas/{model.__name__}"}, properties]}


def _example(problem: Problem) -> dict[str, Any]:
    return problems.members(problem, instance="/api/v1/…", request_id=EXAMPLE_REQUEST_ID)


def _headers(names: Sequence[str]) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _add_schema(schemas: dict[str, Any], model: type[ProblemDetails]) -> None:
    if model.__name__ not in schemas:
        schema = model.model_json_schema(mode="serialization", ref_template="#/components/schemas/{model}")
        schemas |= schema.pop("$defs", {}) | {model.__name__: schema}
