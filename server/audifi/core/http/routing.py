"""FastAPI's routes. Those that take no parameter are called without being looked through each time.

FastAPI works out at each request what a route and each of its dependencies take from the path, the query, the headers,
the cookies and the body. Of a route that takes nothing of these, all was known when it was made. See
docs/decisions/0025-direct-routes.md.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from fastapi.datastructures import DefaultPlaceholder
from fastapi.dependencies.models import (
    Dependant,
    _is_async_gen_callable,
    _is_coroutine_callable,
    _is_gen_callable,
)
from fastapi.routing import APIRoute, serialize_response
from fastapi.utils import is_body_allowed_for_status_code
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

type Step = tuple[Callable[..., Awaitable[Any]], dict[str, int]]
"""What is called, and by which of the values so far: arguments' names and places."""

REQUEST, RESPONSE = 0, 1
"""The places of the first two values: what is asked, and what FastAPI lets a dependency put headers on."""


class DirectRoute(APIRoute):
    """A route that is called directly, where it can be: to be named as an APIRouter's `route_class`.

    Its answers are FastAPI's, as is its part of the contract. It can be where it answers with a model, as JSON, and it
    and all that it depends on are coroutines, each called once, that take the request, the response, or what others of
    them return. All other routes are left to FastAPI, and so are those that an `include_router` makes of these.
    `app.dependency_overrides`, and what is done to `dependant` later, have no bearing on it.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, endpoint, **options)
        is_json = self.response_field is not None and isinstance(self.response_class, DefaultPlaceholder)
        if not is_json or self.max_body_size is not None or not _is_direct(self.dependant):
            return
        self._steps: list[Step] = []
        _add(self.dependant, self._steps, {})
        self._serialize = partial(
            serialize_response,
            field=self.response_field,
            include=self.response_model_include,
            exclude=self.response_model_exclude,
            by_alias=self.response_model_by_alias,
            exclude_unset=self.response_model_exclude_unset,
            exclude_defaults=self.response_model_exclude_defaults,
            exclude_none=self.response_model_exclude_none,
            dump_json=True,
        )
        self.app = self._answer

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        told = Response()
        del told.headers["content-length"]
        told.status_code = None  # type: ignore[assignment] # as FastAPI says that nobody has chosen one
        values: list[Any] = [Request(scope, receive, send), told]
        for call, arguments in self._steps:
            values.append(await call(**{name: values[place] for name, place in arguments.items()}))
        response = values[-1]
        if not isinstance(response, Response):
            content = await self._serialize(response_content=response)
            status = told.status_code or self.status_code or 200
            response = Response(content, status, media_type="application/json")
            if not is_body_allowed_for_status_code(status):
                response.body = b""
            response.raw_headers += told.raw_headers
        await response(scope, receive, send)


def _is_direct(node: Dependant) -> bool:
    call = node.call
    is_coroutine = _is_coroutine_callable(call) and not _is_gen_callable(call) and not _is_async_gen_callable(call)
    parameters = [node.path_params, node.query_params, node.header_params, node.cookie_params, node.body_params]
    others = [
        node.background_tasks_param_name,
        node.security_scopes_param_name,
        node.own_oauth_scopes,
        node.concurrency,
    ]
    is_one = is_coroutine and node.use_cache and not any(parameters) and not any(others)
    return is_one and all(map(_is_direct, node.dependencies))


def _add(node: Dependant, steps: list[Step], places: dict[Any, int]) -> int:
    """What leads to a dependency's value, in FastAPI's order, each once; returns the place of that value."""
    arguments = {}
    for each in node.dependencies:
        known = places.get((each.call, each.scope))
        place = _add(each, steps, places) if known is None else known
        if each.name:
            arguments[each.name] = place
    for name in (node.request_param_name, node.http_connection_param_name):
        if name:
            arguments[name] = REQUEST
    if node.response_param_name:
        arguments[node.response_param_name] = RESPONSE
    assert node.call  # noqa: S101 - _is_direct has seen to it
    steps.append((node.call, arguments))
    return places.setdefault((node.call, node.scope), RESPONSE + len(steps))
