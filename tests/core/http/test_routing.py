"""What a direct route answers is what FastAPI's own route answers, to the byte."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import fields
from functools import wraps
from inspect import signature
from typing import Annotated, Any

import httpx2
import pytest
from fastapi import (
    APIRouter,
    BackgroundTasks,
    Cookie,
    Depends,
    FastAPI,
    Header,
    HTTPException,
    Request,
    Response,
    Security,
)
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import ResponseValidationError
from fastapi.responses import HTMLResponse
from fastapi.routing import APIRoute, get_request_handler
from fastapi.security import HTTPBearer, SecurityScopes
from pydantic import BaseModel, Field
from starlette.background import BackgroundTask
from starlette.requests import HTTPConnection

from audifi.core.http.routing import DirectRoute
from tests.support.app import App

type Calls = list[str]

CALLED: Calls = []
"""By what knows no request."""


class Thing(BaseModel):
    name: str
    count: int = Field(default=1, serialization_alias="n")
    note: str | None = None


class Stored:
    """Not the model, but with its attributes."""

    name = "stored"
    count = 2


async def asked(request: Request) -> Calls:
    calls: Calls = request.app.state.calls
    calls.append("asked")
    return calls


Asked = Annotated[Calls, Depends(asked)]


async def connected(connection: HTTPConnection, calls: Asked) -> str:
    calls.append("connected")
    return connection.headers["x-name"]


async def marked(response: Response, calls: Asked) -> None:
    calls.append("marked")
    response.headers["Cache-Control"] = "no-store"
    response.headers.append("Link", "</a>")
    response.set_cookie("a", "b")


async def refused(calls: Asked) -> None:
    calls.append("refused")
    raise HTTPException(403, "no", headers={"X-Why": "because"})


class Multiplied:
    def __init__(self, by: int) -> None:
        self.by = by

    async def __call__(self, calls: Asked) -> int:
        calls.append(f"times {self.by}")
        return self.by


TWICE = Multiplied(2)
Name = Annotated[str, Depends(connected)]


async def plain() -> Thing:
    return Thing(name="é")


async def nested(name: Name, calls: Asked, twice: Annotated[int, Depends(TWICE)], request: Request) -> Thing:
    return Thing(name=f"{name} {request.url.path}", count=twice * len(calls))


async def again(name: Name, same: Name, other: Annotated[str, Depends(connected, scope="function")]) -> Thing:
    return Thing(name=f"{name} {same} {other}")


async def by_bearer(bearer: Annotated[Any, Depends(HTTPBearer(auto_error=False))]) -> Thing:
    return Thing(name=bearer.credentials if bearer else "nobody")


async def by_strict_bearer(bearer: Annotated[Any, Depends(HTTPBearer())]) -> Thing:
    return Thing(name=bearer.credentials)


async def with_status(response: Response) -> Thing:
    response.status_code = 203
    return Thing(name="a")


async def of_its_own(_: Annotated[None, Depends(marked)]) -> Thing:
    return Response("own", 418, {"X-Own": "1"})  # type: ignore[return-value] # as FastAPI allows


async def not_allowed(_: Annotated[None, Depends(refused)], name: Name) -> Thing:
    return Thing(name=name)


async def broken() -> Thing:
    raise ZeroDivisionError


async def from_object() -> Thing:
    return Stored()  # type: ignore[return-value] # as FastAPI allows


async def not_a_thing() -> Thing:
    return {"count": "many"}  # type: ignore[return-value] # what FastAPI would find


async def nothing_now(response: Response) -> Thing:
    response.status_code = 204
    return Thing(name="a")


async def looked_at(response: Response) -> Thing:
    return Thing(name=str(response.status_code))


async def with_background() -> Thing:
    async def later() -> None:
        CALLED.append("later")

    return Response("a", background=BackgroundTask(later))  # type: ignore[return-value] # as FastAPI allows


async def a_list() -> list[Thing]:
    return [Thing(name="a", note="b"), Thing(name="c")]


DIRECT: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "plain": (plain, {}),
    "nested": (nested, {}),
    "again": (again, {}),
    "by-bearer": (by_bearer, {}),
    "by-strict-bearer": (by_strict_bearer, {}),
    "with-status": (with_status, {}),
    "made": (plain, {"status_code": 201}),
    "nothing-now": (nothing_now, {}),
    "looked-at": (looked_at, {"status_code": 201}),
    "with-background": (with_background, {}),
    "of-its-own": (of_its_own, {}),
    "not-allowed": (not_allowed, {}),
    "broken": (broken, {}),
    "from-object": (from_object, {}),
    "not-a-thing": (not_a_thing, {}),
    "list": (a_list, {}),
    "without-none": (a_list, {"response_model_exclude_none": True}),
    "without-unset": (a_list, {"response_model_exclude_unset": True}),
    "without-defaults": (a_list, {"response_model_exclude_defaults": True}),
    "by-name": (a_list, {"response_model_by_alias": False}),
    "without-one": (plain, {"response_model_exclude": {"count"}}),
    "only-one": (plain, {"response_model_include": {"count"}}),
    "marked": (plain, {"dependencies": [Depends(marked)]}),
    "twice-marked": (nested, {"dependencies": [Depends(marked), Depends(marked), Depends(connected)]}),
}
"""Routes that can be called directly, and what they are made with."""


async def yielding() -> AsyncIterator[str]:
    yield "a"


def in_a_thread() -> str:
    return "a"


async def by_query(q: str = "a") -> str:
    return q


async def by_header(x_name: Annotated[str, Header()]) -> str:
    return x_name


async def by_cookie(session: Annotated[str, Cookie()] = "a") -> str:
    return session


async def later(tasks: BackgroundTasks) -> str:
    return str(len(tasks.tasks))


async def scoped(scopes: SecurityScopes) -> str:
    return scopes.scope_str


class Made:
    def __init__(self, request: Request) -> None:
        self.path = request.url.path

    async def __call__(self) -> str:
        return self.path

    def __str__(self) -> str:
        return f"made for {self.path}"


async def checked_twice(one: Name, two: Annotated[str, Depends(connected, use_cache=False)]) -> Thing:
    return Thing(name=one + two)


async def with_two_scopes(
    one: Annotated[str, Security(connected, scopes=["x"])], two: Annotated[str, Security(connected, scopes=["y"])]
) -> Thing:
    return Thing(name=one + two)


def endpoint(dependency: Any) -> Callable[..., Any]:
    async def named(value: Annotated[Any, dependency]) -> Thing:
        return Thing(name=str(value))

    return named


def threaded() -> Thing:
    return Thing(name="a")


async def by_path(name: str) -> Thing:
    return Thing(name=name)


async def by_body(thing: Thing) -> Thing:
    return thing


async def streamed() -> AsyncIterator[Thing]:
    yield Thing(name="a")


async def a_text() -> str:
    return "<p>a</p>"


async def unmodelled() -> Response:
    return Response("a")


FASTAPIS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "yielding": (endpoint(Depends(yielding)), {}),
    "in-a-thread": (endpoint(Depends(in_a_thread)), {}),
    "by-query": (endpoint(Depends(by_query)), {}),
    "by-header": (endpoint(Depends(by_header)), {}),
    "by-cookie": (endpoint(Depends(by_cookie)), {}),
    "one-at-a-time": (endpoint(Depends(connected, max_concurrency=1)), {}),
    "later": (endpoint(Depends(later)), {}),
    "scoped": (endpoint(Depends(scoped)), {}),
    "class": (endpoint(Depends(Made)), {}),
    "uncached": (endpoint(Depends(asked, use_cache=False)), {}),
    "checked-twice": (checked_twice, {}),
    "with-two-scopes": (with_two_scopes, {}),
    "html": (a_text, {"response_class": HTMLResponse}),
    "threaded": (threaded, {}),
    "by-path/{name}": (by_path, {}),
    "by-body": (by_body, {}),
    "streamed": (streamed, {}),
    "unmodelled": (unmodelled, {}),
    "small": (plain, {"max_body_size": 10}),
}
"""Routes that can't."""


def app_of(routes: type[APIRoute]) -> FastAPI:
    router = APIRouter(prefix="/api", route_class=routes)
    for path, (function, options) in (DIRECT | FASTAPIS).items():
        router.add_api_route(f"/{path}", function, name=path, **options)
    app = FastAPI()
    app.router.routes.extend(router.routes)
    app.state.calls = []
    return app


def route(app: FastAPI, name: str) -> APIRoute:
    (found,) = [route for route in app.routes if isinstance(route, APIRoute) and route.name == name]
    return found


def is_direct(found: APIRoute) -> bool:
    return isinstance(found, DirectRoute) and found.app == found._answer  # noqa: SLF001


@pytest.fixture(scope="module")
def apps() -> tuple[FastAPI, FastAPI]:
    """The same, once with FastAPI's routes and once with ours."""
    return app_of(APIRoute), app_of(DirectRoute)


def answer(app: FastAPI, path: str, **headers: str) -> tuple[Any, ...]:
    """Its status, headers and body, or what was raised; and in which order dependencies were called."""

    async def ask() -> tuple[Any, ...]:
        transport = httpx2.ASGITransport(app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://api.test") as http:
            try:
                got = await http.get(f"/api/{path}", headers={"X-Name": "Ana", **headers})
            except (ZeroDivisionError, TypeError, ResponseValidationError) as error:
                return type(error), getattr(error, "errors", list)()
        return got.status_code, got.headers.multi_items(), got.content

    app.state.calls.clear()
    CALLED.clear()
    return (*asyncio.run(ask()), *app.state.calls, *CALLED)


@pytest.mark.parametrize("name", DIRECT)
@pytest.mark.parametrize("bearer", [None, "Bearer abc", "Basic abc"])
def test_its_answer_is_fastapis(apps: tuple[FastAPI, FastAPI], name: str, bearer: str | None) -> None:
    theirs, ours = apps
    headers = {"Authorization": bearer} if bearer else {}

    assert is_direct(route(ours, name))
    assert answer(ours, name, **headers) == answer(theirs, name, **headers)


@pytest.mark.parametrize("name", FASTAPIS)
def test_what_takes_more_than_the_request_is_left_to_fastapi(apps: tuple[FastAPI, FastAPI], name: str) -> None:
    theirs, ours = apps

    assert not is_direct(route(ours, name))
    assert answer(ours, name) == answer(theirs, name)


def yielding_in_a_thread() -> Iterator[str]:
    yield "a"


@pytest.mark.parametrize("wrapped", [yielding, yielding_in_a_thread])
def test_what_only_looks_like_a_coroutine_is_fastapis_to_refuse(wrapped: Callable[[], Any]) -> None:
    """Called as one, it would never get to what it wraps."""

    @wraps(wrapped)
    async def wrapper() -> str:
        return str(wrapped())

    assert not is_direct(DirectRoute("/", endpoint(Depends(wrapper))))


def test_its_part_of_the_contract_is_fastapis(apps: tuple[FastAPI, FastAPI]) -> None:
    theirs, ours = apps

    assert ours.openapi() == theirs.openapi()


def test_all_that_fastapi_finds_out_about_a_route_is_known() -> None:
    """What a new version adds here may be something that a direct route has to look at, or that isn't for one."""
    assert {field.name for field in fields(Dependant)} == {
        *("name", "call", "path", "dependencies", "use_cache", "scope", "concurrency"),
        *("path_params", "query_params", "header_params", "cookie_params", "body_params"),
        *("request_param_name", "http_connection_param_name", "websocket_param_name", "response_param_name"),
        *("background_tasks_param_name", "security_scopes_param_name", "own_oauth_scopes", "parent_oauth_scopes"),
    }
    assert set(signature(get_request_handler).parameters) == {
        *("dependant", "body_field", "status_code", "response_class", "response_field", "stream_item_field"),
        *("response_model_include", "response_model_exclude", "response_model_by_alias"),
        *("response_model_exclude_unset", "response_model_exclude_defaults", "response_model_exclude_none"),
        *("dependency_overrides_provider", "embed_body_fields", "strict_content_type", "is_json_stream", "form_limits"),
    }


def test_each_dependency_is_called_once_and_the_routers_come_first(apps: tuple[FastAPI, FastAPI]) -> None:
    assert answer(apps[1], "twice-marked")[3:] == ("asked", "marked", "connected", "times 2")


def test_the_account_is_read_directly(app: App) -> None:
    """What most requests ask for: a dependency that takes a parameter would make them a quarter dearer."""
    assert is_direct(route(app.asgi, "get_me"))
