"""The ASGI middleware for all requests and responses."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from time import perf_counter
from typing import TYPE_CHECKING

from fastapi import FastAPI
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from audifi.core.config.validators import TrustedCaller
from audifi.core.http import openapi, problems
from audifi.core.http.client_info import network_of
from audifi.core.http.middleware import request_id
from audifi.core.http.middleware.body_limit import (
    BodyLimits,
    ClientDisconnectedError,
    discard_body,
    has_body,
    read_body,
)
from audifi.core.http.middleware.client_address import CallerRegistry, TrustedProxies
from audifi.core.http.middleware.concurrency_limit import ConcurrencyLimit
from audifi.core.http.middleware.cors import CorsPolicy, is_preflight
from audifi.core.http.middleware.default_headers import default_headers
from audifi.core.http.middleware.errors import IncompleteResponseError, log_error, problem_for
from audifi.core.http.middleware.instrumentation import Instrumentation, RequestRecord
from audifi.core.http.middleware.routes import RouteTemplates
from audifi.core.http.problems import Problem
from audifi.core.http.rate_limits import count_request
from audifi.core.rate_limiting.approximate import ApproximateRateLimiter
from audifi.core.telemetry.context import current_request_id
from audifi.core.telemetry.error_reporting import ErrorReporter
from audifi.core.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from audifi.core.telemetry.tracing import Tracer

type RawHeaders = tuple[tuple[bytes, bytes], ...]

HANG_UP_CHECK_SECONDS = 1.0
"""Only slower requests check whether the client has hung up: the check has a cost, and few clients hang up sooner."""

HTTP_VERSIONS = {"1.1", "1.0"}

CLOSE: RawHeaders = ((b"connection", b"close"),)
"""httptools ends a request to upgrade at its head, and would read the body as the next request."""


def add_middleware(  # noqa: PLR0913 - the middleware's parts
    app: FastAPI,
    *,
    allowed_origins: Sequence[str],
    trusted_proxies: Sequence[IPv4Network | IPv6Network],
    trusted_callers: Sequence[TrustedCaller] = (),
    request_limiter: ApproximateRateLimiter,
    concurrency_limit: ConcurrencyLimit,
    unlimited_paths: frozenset[str],
    uncounted_paths: frozenset[str] = frozenset(),
    metrics: Metrics,
    report: ErrorReporter | None = None,
    tracer: "Tracer | None" = None,
) -> None:
    """Add the middleware to the app, have it answer errors with problems, and document them.

    Args:
        app: before its first request.
        allowed_origins: whose pages may call this API with cookies and read its responses.
        trusted_proxies: the networks whose headers tell the client's address and scheme.
        trusted_callers: the servers that may tell the address of the person they call for.
        request_limiter: limits each client's requests.
        concurrency_limit: limits all requests.
        unlimited_paths: paths that neither limit applies to, and whose successful responses aren't logged: health
            checks.
        uncounted_paths: paths of callers that share few addresses, and have a limit of their own: webhooks. Their
            requests aren't counted as a client's.
        metrics: count requests.
        report: gets unexpected errors.
        tracer: makes spans.
    """
    problems.install(app)
    openapi.install(app, limited=lambda path: path not in unlimited_paths)
    app.add_middleware(
        HttpMiddleware,
        proxies=TrustedProxies(trusted_proxies),
        callers=CallerRegistry(trusted_callers),
        cors=CorsPolicy(allowed_origins),
        body_limits=BodyLimits(app.router.routes),
        request_limiter=request_limiter,
        concurrency_limit=concurrency_limit,
        unlimited_paths=unlimited_paths,
        uncounted_paths=uncounted_paths,
        instrumentation=Instrumentation(
            routes=RouteTemplates(app.router.routes),
            quiet_paths=unlimited_paths,
            metrics=metrics,
            tracer=tracer,
            report=report,
        ),
    )


@dataclass(slots=True, kw_only=True)
class Exchange:
    """A request on its way through the middleware, and its response."""

    scope: Scope
    method: str
    """The client's: routes see HEAD as GET."""
    headers: Mapping[bytes, bytes]
    raw_receive: Receive
    raw_send: Send
    response_headers: RawHeaders
    """Added to the response, unless it has them already."""
    record: RequestRecord
    concurrency_limit: ConcurrencyLimit | None = None
    """Set while the request occupies a place in it."""
    body: bytes | None = None
    """Read, but not yet received by the app."""
    is_reading_body: bool = False

    async def receive(self) -> Message:
        """Return the body, then the server's messages."""
        if self.body is None:
            return await self.raw_receive()
        body, self.body = self.body, None
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(self, message: Message) -> None:
        """Send the response with the headers that all responses have."""
        if message["type"] == "http.response.start":
            await self._start(message)
        elif message.get("more_body"):
            await self.raw_send(message)
        else:
            if self.is_reading_body:
                await self.raw_send({**message, "more_body": True})
                await discard_body(self.raw_receive)
                message = {"type": "http.response.body", "body": b""}
            await self.raw_send(message)
            self.record.ended_at = perf_counter()

    async def _start(self, message: Message) -> None:
        self.release()
        self.record.status = message["status"]
        if perf_counter() - self.record.started_at > HANG_UP_CHECK_SECONDS:
            connection = Request(self.scope, self.raw_receive)
            self.record.has_client_hung_up = await connection.is_disconnected()
        headers = list(message["headers"])
        names = {name for name, _ in headers} - {b"vary"}  # may occur several times
        headers += [header for header in self.response_headers if header[0] not in names]
        for name, value in self.scope["state"].get("rate_limits", ()):
            headers.append((name.lower().encode(), value.encode()))
        await self.raw_send({**message, "headers": headers})

    async def send_problem(self, problem: Problem) -> None:
        response = problems.response(self.scope, problem)
        await response(self.scope, self.receive, self.send)

    def release(self) -> None:
        """Give the place back."""
        if self.concurrency_limit:
            self.concurrency_limit.release()
            self.concurrency_limit = None


class HttpMiddleware:
    """Handles all requests:

    - context: the client's address, the request id, the trace;
    - headers of every response: no-store, security headers, CORS, the request id, rate limits;
    - refusals: preflights of other origins, too many requests, bodies that are too large or too slow;
    - errors: an unhandled error becomes a problem with these headers, so that pages can read it;
    - records: the log line, metrics, the span, the report of an unexpected error.
    """

    def __init__(  # noqa: PLR0913 - the middleware's parts
        self,
        app: ASGIApp,
        *,
        proxies: TrustedProxies,
        callers: CallerRegistry,
        cors: CorsPolicy,
        body_limits: BodyLimits,
        request_limiter: ApproximateRateLimiter,
        concurrency_limit: ConcurrencyLimit,
        unlimited_paths: frozenset[str],
        uncounted_paths: frozenset[str],
        instrumentation: Instrumentation,
    ) -> None:
        self._app = app
        self._proxies = proxies
        self._callers = callers
        self._cors = cors
        self._body_limits = body_limits
        self._request_limiter = request_limiter
        self._concurrency_limit = concurrency_limit
        self._unlimited_paths = unlimited_paths
        self._uncounted_paths = uncounted_paths
        self._instrumentation = instrumentation

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._handle_request(scope, receive, send)
            return
        if scope["type"] == "websocket":
            headers = dict(scope["headers"])
            self._proxies.apply(scope, headers)
            current_request_id.set(request_id.get_or_create(headers))
        await self._app(scope, receive, send)

    async def _handle_request(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = self._begin(scope, receive, send)
        try:
            await self._respond(exchange)
            exchange.record.has_client_hung_up |= not exchange.record.ended_at
        except ClientDisconnectedError:
            exchange.record.has_client_hung_up = True
        except asyncio.CancelledError:  # by the server, at the end of its shutdown
            if exchange.record.status:
                raise
            await exchange.send_problem(problems.stopping())
        except Exception as error:  # noqa: BLE001 - whatever it is, the client gets a response
            await self._answer_error(exchange, error)
        finally:
            exchange.release()
            self._end(exchange)

    def _begin(self, scope: Scope, receive: Receive, send: Send) -> Exchange:
        headers = dict(scope["headers"])
        self._proxies.apply(scope, headers)
        identifier = request_id.get_or_create(headers)
        # Never reset: each request has its own task, and later log lines of the task belong to it, too.
        current_request_id.set(identifier)
        method = scope["method"]
        if method == "HEAD":  # any GET route answers HEAD (RFC 9110, 9.3.2); the server leaves the body out
            scope = {**scope, "method": "GET"}
        scope.setdefault("state", {})
        return Exchange(
            scope=scope,
            method=method,
            headers=headers,
            raw_receive=receive,
            raw_send=send,
            response_headers=(
                (request_id.RAW_HEADER, identifier.encode()),
                *default_headers(scope["scheme"]),
                *self._cors.response_headers(headers.get(b"origin")),
                *(CLOSE if b"upgrade" in headers or method == "CONNECT" else ()),
            ),
            record=self._instrumentation.begin(identifier, scope["scheme"], headers),
        )

    async def _respond(self, exchange: Exchange) -> None:
        scope, headers = exchange.scope, exchange.headers
        if scope["http_version"] not in HTTP_VERSIONS:  # uvicorn lets them through
            raise problems.http_version_refused(scope["http_version"])
        if is_preflight(exchange.method, headers):
            response = self._cors.preflight_response(headers)
            await response(scope, exchange.raw_receive, exchange.send)
            return
        is_limited = scope["path"] not in self._unlimited_paths or scope["method"] != "GET"
        if is_limited:
            refusal = self._callers.apply(scope, headers)
            if scope["path"] not in self._uncounted_paths:
                self._count_client(scope)
            if refusal:
                raise refusal
        receive = exchange.raw_receive
        if is_limited and has_body(headers):  # nothing limits how many clients would send the body of a health check
            exchange.is_reading_body = True
            try:
                exchange.body = await read_body(receive, headers, self._body_limits.max_bytes(scope))
            except Problem:
                if scope["path"] in self._uncounted_paths:  # their handlers count what they read
                    self._count_client(scope)
                raise
            exchange.is_reading_body = False
            receive = exchange.receive
        if is_limited:
            await self._concurrency_limit.acquire()
            exchange.concurrency_limit = self._concurrency_limit
        await self._app(scope, receive, exchange.send)

    def _count_client(self, scope: Scope) -> None:
        """
        Raises:
            RateLimitExceededError: answered with 429.
        """
        limiter, client = self._request_limiter, scope["client"]
        count_request(scope, limiter, limiter.per_client, network_of(client[0] if client else ""))

    @staticmethod
    async def _answer_error(exchange: Exchange, error: Exception) -> None:
        record = exchange.record
        problem = problem_for(error)
        if problem is not error and log_error(exchange.method, problems.path(exchange.scope), problem, error):
            record.error = error
        if not record.status:
            await exchange.send_problem(problem)
        elif not record.ended_at:
            raise IncompleteResponseError from None  # not the error itself: the server would log its message

    def _end(self, exchange: Exchange) -> None:
        record = exchange.record
        record.problem = exchange.scope["state"].get("problem")
        self._instrumentation.end(record, exchange.method, exchange.scope)
