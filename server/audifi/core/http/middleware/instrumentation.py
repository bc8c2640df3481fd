"""Records the log line, metrics and span of each request, and reports unexpected errors."""

from collections.abc import Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any

from starlette.types import Scope

from audifi.core.http import problems
from audifi.core.http.middleware.routes import RouteTemplates
from audifi.core.http.problems import Problem
from audifi.core.telemetry import logging as logs
from audifi.core.telemetry.context import current_trace_id
from audifi.core.telemetry.error_reporting import ErrorReporter
from audifi.core.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from audifi.core.telemetry.tracing import Tracer

METHODS = frozenset(problems.METHODS)
OTHER_METHOD = "_OTHER"
"""OpenTelemetry's value of http.request.method for unknown methods."""
CLIENT_CLOSED_REQUEST = 499
"""nginx's status for a client that hung up before its response."""
RESPONSE_INCOMPLETE = "response.incomplete"
SERVER_ERROR = 500
OVERLOADED = "server.overloaded"


@dataclass(slots=True, kw_only=True)
class RequestRecord:
    """The data of a request for its log line, metrics and span."""

    request_id: str
    started_at: float
    span: "Span | None"
    status: int = 0
    """Of the response; 0 if it didn't start."""
    ended_at: float = 0.0
    """0 if the response isn't complete."""
    has_client_hung_up: bool = False
    problem: Problem | None = None
    error: Exception | None = None
    """The unexpected error to report."""


class Instrumentation:
    """Begins and ends the record of each request."""

    def __init__(
        self,
        *,
        routes: RouteTemplates,
        quiet_paths: frozenset[str],
        metrics: Metrics,
        tracer: "Tracer | None",
        report: ErrorReporter | None,
    ) -> None:
        """
        Args:
            routes: the templates that requests are named by.
            quiet_paths: paths whose successful responses aren't logged: health checks.
            metrics: count each request.
            tracer: makes a span of each request.
            report: gets unexpected errors.
        """
        self._routes = routes
        self._quiet_paths = quiet_paths
        self._metrics = metrics
        self._tracer = tracer
        self._report = report
        self._log = logs.request_log()

    def begin(self, request_id: str, scheme: str, headers: Mapping[bytes, bytes]) -> RequestRecord:
        self._metrics.requests_in_flight += 1
        span = self._tracer.begin_request(scheme, headers) if self._tracer else None
        return RequestRecord(request_id=request_id, started_at=perf_counter(), span=span)

    def end(self, record: RequestRecord, method: str, scope: Scope) -> None:
        """
        Args:
            record: of this request.
            method: the client's.
            scope: as the routes have left it.
        """
        self._metrics.requests_in_flight -= 1
        seconds = (record.ended_at or perf_counter()) - record.started_at
        method = method if method in METHODS else OTHER_METHOD
        route = self._routes.find(scope)
        problem = record.problem
        code = problem.code if problem else None
        status = record.status or SERVER_ERROR
        if record.has_client_hung_up:
            status = CLIENT_CLOSED_REQUEST
        elif not record.ended_at:
            code = RESPONSE_INCOMPLETE
        self._metrics.count_request(method, route, status, seconds)
        if code:
            self._metrics.count_error(code, problem.limit if problem else None)
        if self._tracer and record.span:
            self._tracer.end_request(record.span, method, route, status, code)
        if self._report and record.error:
            self._report(record.error, f"{method} {route}", {"request_id": record.request_id, "code": code or ""})
        is_quiet = code == OVERLOADED or (status < 400 and scope["path"] in self._quiet_paths)  # noqa: PLR2004
        if self._log and not is_quiet:
            fields = {
                "request_id": record.request_id,
                "http.request.method": method,
                "http.route": route,
                "http.response.status_code": status,
                "duration_ms": round(seconds * 1000, 2),
                **_optional_fields(code, scope["state"]),
            }
            self._log.write(f"{method} {route} {status}", fields)


def _optional_fields(code: str | None, state: Mapping[str, Any]) -> dict[str, str]:
    fields = {}
    if user_id := state.get("user_id"):
        fields["user.id"] = str(user_id)
    if caller := state.get("caller"):
        fields["caller"] = caller
    if code:
        fields["error.type"] = code
    if trace_id := current_trace_id.get():
        fields["trace_id"] = trace_id
    return fields
