"""The HTTP edge: what every request passes, and every answer, whichever feature it is for."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from http import HTTPStatus
from ipaddress import IPv4Network, IPv6Network
from typing import TypedDict, override

from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from audifi.core.http import openapi as contract
from audifi.core.http import problems
from audifi.core.http.middleware import request_id
from audifi.core.http.middleware.body_limit import BodyLimitMiddleware
from audifi.core.http.middleware.concurrency_limit import Overload, OverloadMiddleware
from audifi.core.http.middleware.conditional import ConditionalMiddleware
from audifi.core.http.middleware.errors import FailuresMiddleware
from audifi.core.http.middleware.instrumentation import Sight
from audifi.core.http.middleware.proxy import FlyProxyMiddleware
from audifi.core.http.middleware.rate_limit import RateLimitMiddleware
from audifi.core.http.middleware.request_id import RequestIdMiddleware
from audifi.core.http.problems import Problem
from audifi.core.rate_limiting.approximate import ApproximateRateLimiter
from audifi.core.telemetry.metrics import Metrics

# What an API's answers tell browsers (OWASP REST Security Cheat Sheet).
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    # For <img> and <script>, which no page has a use for here. It doesn't bear on fetch(): that is CORS's.
    "Cross-Origin-Resource-Policy": "same-origin",
}
RAW_SECURITY_HEADERS = [(name.lower().encode(), value.encode()) for name, value in SECURITY_HEADERS.items()]
# Without includeSubDomains: an API doesn't know who else lives under its name.
RAW_OVER_HTTPS = [*RAW_SECURITY_HEADERS, (b"strict-transport-security", b"max-age=31536000")]
PREFLIGHT_MAX_AGE_SECONDS = (
    7200  # Chromium's limit: https://developer.mozilla.org/docs/Web/HTTP/Headers/Access-Control-Max-Age
)

# What a refusal is made with, once, and what goes there in each. No name that a client may give holds a slash.
NAME, INSTANCE = b"name-of-the-request", b"/path-of-the-request"


def install(  # noqa: PLR0913 - what is wired
    app: FastAPI,
    *,
    allowed_origins: Sequence[str],
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...],
    request_limiter: ApproximateRateLimiter,
    overload: Overload,
    first: Mapping[str, ASGIApp],
    sight: Sight | None = None,
) -> None:
    """Put the middleware around the app, and have it answer errors with problems.

    Args:
        app: to which nothing has been asked yet.
        allowed_origins: whose pages may call this API with cookies and read its answers; scheme, host and port, exactly
            as browsers write them.
        trusted_proxies: those that are believed when they tell the client's address and scheme.
        request_limiter: counts the requests of each client.
        overload: how much may be in work for all of them.
        first: what answers GET by these paths before anything could refuse them: Fly's checks.
        sight: where requests are told of.
    """
    problems.install(app)
    contract.install(app, limited=lambda path: path not in first)
    # Starlette puts each around those before it: the first one here is next to the routes.
    app.add_middleware(ConditionalMiddleware)
    app.add_middleware(BodyLimitMiddleware)
    app.add_middleware(FailuresMiddleware)
    app.add_middleware(RateLimitMiddleware, limiter=request_limiter)
    app.add_middleware(OverloadMiddleware, overload=overload)
    app.add_middleware(FirstMiddleware, first=first)
    cors: CorsOptions = {
        "allow_origins": allowed_origins,
        "allow_credentials": True,
        "allow_methods": "GET POST PATCH PUT DELETE".split(),
        "allow_headers": ["Authorization", "Content-Type", "If-None-Match", request_id.HEADER],
        "expose_headers": [
            request_id.HEADER,
            *"ETag Retry-After RateLimit RateLimit-Policy WWW-Authenticate".split(),
        ],
        "max_age": PREFLIGHT_MAX_AGE_SECONDS,
    }
    app.add_middleware(ProblemCORSMiddleware, **cors)
    app.add_middleware(SecurityHeadersMiddleware)
    app.add_middleware(RequestIdMiddleware)
    app.add_middleware(FlyProxyMiddleware, trusted=trusted_proxies)
    sight = sight or Sight(Metrics())
    sight.watch(app, quiet=frozenset(first))
    app.state.gate = Gate(overload=overload, first=first, cors=CORSMiddleware(app, **cors), sight=sight)


class Gate:
    """What protocol.py asks before it has the app do anything, and answers with where the app does nothing."""

    def __init__(self, *, overload: Overload, first: Mapping[str, ASGIApp], cors: CORSMiddleware, sight: Sight) -> None:
        self._overload = overload
        self._first = first
        self._cors = cors
        self._sight = sight
        self._problem = problems.overloaded(1)
        self._origins = frozenset(origin.encode() for origin in cors.allow_origins)
        self._copies = lru_cache(None)(self._copy)  # of a few origins, each with a few times

    def admit(self, app: ASGIApp, scope: Scope) -> ASGIApp | None:
        """The app, for this request; None where there is too much to do already."""
        is_first = _is_read(scope) and scope["path"] in self._first
        return app if is_first or _is_preflight(scope) else self._overload.take(app)

    def send_away_in_turn(self, scope: Scope, send: Callable[[bytes, bytes], None]) -> None:
        """Have `send` called, a little later, with the header lines and the body for one who wasn't admitted."""
        self._overload.shed_in_turn(lambda: send(*self._sent_away(scope)))

    def _sent_away(self, scope: Scope) -> tuple[bytes, bytes]:
        """As `refuse` makes it, from a copy in which only the name and the path are new: there may be very many."""
        origin = next((value for name, value in scope["headers"] if name == b"origin"), None)
        known = origin if origin is None or origin in self._origins else b"other"
        lines, body = self._copies(known, next(self._overload.retry_after))
        name = request_id.name(scope).encode()
        body = body.replace(NAME, name).replace(INSTANCE, problems.path(scope).encode())
        self._sight.refused(self._problem, scope)
        return b"%scontent-length: %d\r\n" % (lines.replace(NAME, name), len(body)), body

    def _copy(self, origin: bytes | None, retry_after: int) -> tuple[bytes, bytes]:
        headers = [(request_id.RAW_HEADER, NAME), *([(b"origin", origin)] if origin else [])]
        scope = {"type": "http", "method": "", "path": INSTANCE.decode(), "headers": headers}
        answer = self._response(scope, problems.overloaded(retry_after))
        lines = [b"%s: %s\r\n" % header for header in answer.raw_headers if header[0] != b"content-length"]
        return b"".join(lines), bytes(answer.body)

    def refuse(self, scope: Scope, problem: Problem) -> Response:
        """An answer with all that the app's own have, but for HSTS: nobody has looked who is in front."""
        answer = self._response(scope, problem)
        self._sight.refused(problem, scope)
        return answer

    def _response(self, scope: Scope, problem: Problem) -> Response:
        headers = Headers(scope=scope)
        name = request_id.name(scope)
        answer = problems.response(scope, problem)
        answer.raw_headers += [*RAW_SECURITY_HEADERS, (request_id.RAW_HEADER, name.encode())]
        if origin := headers.get("origin"):
            answer.headers.update(self._cors.simple_headers)
            if self._cors.is_allowed_origin(origin):
                self._cors.allow_explicit_origin(answer.headers, origin)
        return answer


def _is_read(scope: Scope) -> bool:
    return scope["type"] == "http" and scope["method"] in {"GET", "HEAD"}


def _is_preflight(scope: Scope) -> bool:
    """As Starlette's CORSMiddleware has it, which answers those itself."""
    if scope["method"] != "OPTIONS":
        return False
    headers = dict(scope["headers"])
    return b"origin" in headers and b"access-control-request-method" in headers


class FirstMiddleware:
    """Answers what is asked for all the time ahead of the limits, and of all else on the way to a route."""

    def __init__(self, app: ASGIApp, *, first: Mapping[str, ASGIApp]) -> None:
        self._app = app
        self._first = first

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._first.get(scope["path"], self._app) if _is_read(scope) else self._app
        await app(scope, receive, send)


class CorsOptions(TypedDict):
    """Starlette's, by its names."""

    allow_origins: Sequence[str]
    allow_credentials: bool
    allow_methods: Sequence[str]
    allow_headers: Sequence[str]
    expose_headers: Sequence[str]
    max_age: int


class ProblemCORSMiddleware(CORSMiddleware):
    """Starlette's, with its refusal of a preflight as a problem; its own is plain text."""

    @override
    def preflight_response(self, request_headers: Headers) -> Response:
        answer = super().preflight_response(request_headers)
        return answer if answer.status_code == HTTPStatus.OK else _PreflightRefusal(answer)


class _PreflightRefusal(Response):
    """A response that knows the request only when it is sent."""

    def __init__(self, refusal: Response) -> None:
        super().__init__()
        told = bytes(refusal.body).decode()  # "Disallowed CORS origin, headers"
        self._problem = Problem(
            400,
            "cors.refused",
            "Not from this page",
            f"{told}. Origins are those that APP_URL and ALLOWED_ORIGINS name.",
            headers=[("Vary", refusal.headers["vary"])],
        )

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await problems.response(scope, self._problem)(scope, receive, send)


class SecurityHeadersMiddleware:
    """`SECURITY_HEADERS` on every answer, but for those that a route has set itself."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        told = RAW_OVER_HTTPS if scope["scheme"] == "https" else RAW_SECURITY_HEADERS

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = {name for name, _ in message["headers"]}
                message["headers"].extend(header for header in told if header[0] not in own)
            await send(message)

        await self._app(scope, receive, send_with_headers)
