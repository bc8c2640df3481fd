"""Each request is measured once, around all else: for its line in the log, for the metrics, and for its trace."""

from collections.abc import Mapping
from contextlib import suppress
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from starlette.routing import Mount
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from audifi.core.http import problems
from audifi.core.http.problems import Problem
from audifi.core.telemetry import logging as logs
from audifi.core.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from audifi.core.telemetry.tracing import Traces

METHODS = frozenset(problems.METHODS)
OTHER_METHOD = "_OTHER"
"""OpenTelemetry's word for those that aren't known: http.request.method."""
UNMATCHED = "unmatched"
"""In place of a route's template: a path may be anything, and hold anything."""
HUNG_UP = 499
"""nginx's status for a client that was gone before it had its answer."""
CUT_SHORT = "answer.cut_short"
SERVER_ERROR = 500
SHED = "server.overloaded"
"""A line costs as much as the answer, and there may be very many."""


class Report(Protocol):
    """Tells those who can mend it of an error: `reports.Reporter`."""

    def __call__(self, error: BaseException, where: str, tags: Mapping[str, str]) -> None: ...


class Sight:
    """Where the measurements go."""

    def __init__(self, metrics: Metrics, report: Report | None = None, traces: "Traces | None" = None) -> None:
        """
        Args:
            metrics: where requests are counted.
            report: gets what nobody handled.
            traces: get a span of each request.
        """
        self._traces = traces
        self._metrics = metrics
        self._report = report
        self._log = logs.requests()
        self._app: FastAPI | None = None
        self._routes: dict[int, str] | None = None
        self._quiet: frozenset[str] = frozenset()

    def watch(self, app: FastAPI, *, quiet: frozenset[str]) -> None:
        """
        Args:
            app: whose routes they are; all of them, by the time of the first request.
            quiet: paths whose good answers have no line. Anyone could flood the log by them.
        """
        self._app = app
        self._quiet = quiet
        app.add_middleware(SightMiddleware, sight=self)

    def began(self, scope: Scope) -> None:
        self._metrics.in_flight += 1
        if self._traces:
            scope["state"]["span"] = self._traces.begin(scope)

    def ended(self, scope: Scope, status: int, seconds: float, *, is_cut: bool = False) -> None:
        """
        Args:
            scope: the request's, as the routes have left it.
            status: of the answer; HUNG_UP where nobody heard it, 0 where there was none.
            seconds: from the head of the request to the end of the answer.
            is_cut: whether the answer has begun and not ended, or never began.
        """
        self._metrics.in_flight -= 1
        state = scope["state"]
        problem: Problem | None = state.get("problem")
        error = CUT_SHORT if is_cut else problem.code if problem else None
        status = status or SERVER_ERROR
        method = scope["method"] if scope["method"] in METHODS else OTHER_METHOD
        route = self.route(scope)
        self._metrics.request(method, route, status, seconds)
        if error:
            self._metrics.error(error, problem.limit if problem else None)
        if self._traces:
            self._traces.end(state["span"], method, route, status, error)
        if self._report and (failure := state.get("failure")):
            self._report(failure, f"{method} {route}", {"request_id": state["request_id"], "code": error or ""})
        if status < 400 and scope["path"] in self._quiet:  # noqa: PLR2004 - RFC 9110, 15
            return
        self._line(method, route, status, seconds, error, state)

    def refused(self, problem: Problem, scope: Scope) -> None:
        """What the protocol has answered, without the app."""
        method = scope["method"] if scope["method"] in METHODS else OTHER_METHOD
        self._metrics.request(method, UNMATCHED, problem.status, 0)
        self._metrics.error(problem.code)
        if problem.code != SHED:  # `Overload` has a line a second for them
            self._line(method, UNMATCHED, problem.status, 0, problem.code, scope["state"])

    def route(self, scope: Scope) -> str:
        """The template of the route that took it, with all prefixes: `/api/v1/auth/sessions/{session_id}`."""
        if self._routes is None:
            assert self._app  # noqa: S101 - watch() comes first
            self._routes = templates(self._app)
        # Of a route that was included by another router FastAPI sets the route, of others the endpoint alone.
        found = self._routes.get(id(scope.get("route"))) or self._routes.get(id(scope.get("endpoint")))
        return found or UNMATCHED

    def _line(  # noqa: PLR0913, PLR0917 - a line's fields
        self, method: str, route: str, status: int, seconds: float, error: str | None, state: dict[str, Any]
    ) -> None:
        if self._log is None:
            return
        fields = {
            "request_id": state.get("request_id"),
            "http.request.method": method,
            "http.route": route,
            "http.response.status_code": status,
            "duration_ms": round(seconds * 1000, 2),
        }
        if user_id := state.get("user_id"):
            fields["user.id"] = str(user_id)
        if error:
            fields["error.type"] = error
        if trace_id := state.get("trace_id"):
            fields["trace_id"] = trace_id
        with suppress(OSError, ValueError):  # nobody reads what is written; requests go on
            self._log.info(f"{method} {route} {status}", **fields)


def templates(app: FastAPI) -> dict[int, str]:
    """By the identity of a route, and of its endpoint: routes have no hash."""
    found = {}
    for context in iter_route_contexts(app.routes):
        route = context.original_route
        path = f"{context.path}/{{path}}" if isinstance(route, Mount) else str(context.path)
        for key in (route, getattr(route, "endpoint", None), getattr(route, "app", None)):
            if key is not None:
                found[id(key)] = path
    return found


class SightMiddleware:
    """The outermost."""

    def __init__(self, app: ASGIApp, *, sight: Sight) -> None:
        self._app = app
        self._sight = sight

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope.setdefault("state", {})
        status = 0
        ended_at = 0.0

        async def send_watched(message: Message) -> None:
            nonlocal status, ended_at
            if message["type"] == "http.response.start":
                status = message["status"]
            elif not message.get("more_body"):
                status = HUNG_UP if has_hung_up(receive) else status
                await send(message)
                ended_at = perf_counter()
                return
            await send(message)

        began_at = perf_counter()
        self._sight.began(scope)
        try:
            await self._app(scope, receive, send_watched)
        finally:
            is_cut = not ended_at
            if is_cut and has_hung_up(receive):
                status, is_cut = HUNG_UP, False
            self._sight.ended(scope, status, (ended_at or perf_counter()) - began_at, is_cut=is_cut)


def has_hung_up(receive: Receive) -> bool:
    """Whether the client has. ASGI tells those who wait for it alone; uvicorn's `receive` belongs to what knows."""
    return bool(getattr(getattr(receive, "__self__", None), "disconnected", False))
