"""The HTTP edge: what every request passes, and every answer, whichever feature it is for."""

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network

from fastapi import FastAPI
from starlette.datastructures import MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from audifi.core import problems, request_id
from audifi.core.body_limit import BodyLimitMiddleware
from audifi.core.failures import FailuresMiddleware
from audifi.core.proxy import FlyProxyMiddleware
from audifi.core.request_id import RequestIdMiddleware

PREFLIGHT_MAX_AGE_SECONDS = (
    7200  # Chromium's limit: https://developer.mozilla.org/docs/Web/HTTP/Headers/Access-Control-Max-Age
)


def install(
    app: FastAPI, *, allowed_origins: Sequence[str], trusted_proxies: tuple[IPv4Network | IPv6Network, ...]
) -> None:
    """Put the middleware around the app, and have it answer errors with problems.

    Args:
        app: to which nothing has been asked yet.
        allowed_origins: whose pages may call this API with cookies and read its answers; scheme, host and port, exactly
            as browsers write them.
        trusted_proxies: those that are believed when they tell the client's address and scheme.
    """
    problems.install(app)
    # Starlette puts each around those before it: the first one here is next to the routes.
    app.add_middleware(BodyLimitMiddleware)
    app.add_middleware(FailuresMiddleware)
    app.add_middleware(
        CORSMiddleware,
        allow_origins=allowed_origins,
        allow_credentials=True,
        allow_methods="GET POST PATCH PUT DELETE".split(),
        allow_headers=["Authorization", "Content-Type", request_id.HEADER],
        expose_headers=[request_id.HEADER, *"Retry-After RateLimit RateLimit-Policy WWW-Authenticate".split()],
        max_age=PREFLIGHT_MAX_AGE_SECONDS,
    )
    docs = {app.docs_url, app.redoc_url, app.swagger_ui_oauth2_redirect_url}
    app.add_middleware(SecurityHeadersMiddleware, pages=frozenset(filter(None, docs)))
    app.add_middleware(RequestIdMiddleware)
    app.add_middleware(FlyProxyMiddleware, trusted=trusted_proxies)


class SecurityHeadersMiddleware:
    """What an API's answers tell browsers (OWASP REST Security Cheat Sheet). A route's own headers stay."""

    def __init__(self, app: ASGIApp, *, pages: frozenset[str]) -> None:
        self._app = app
        self._pages = pages
        """Paths of HTML, with scripts and styles from elsewhere: FastAPI's documentation."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        policy = (
            "frame-ancestors 'none'" if scope["path"] in self._pages else "default-src 'none'; frame-ancestors 'none'"
        )
        told = {
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Content-Security-Policy": policy,
            # For <img> and <script>, which no page has a use for here. It doesn't bear on fetch(): that is CORS's.
            "Cross-Origin-Resource-Policy": "same-origin",
        }
        if scope["scheme"] == "https":
            # Without includeSubDomains: an API doesn't know who else lives under its name.
            told["Strict-Transport-Security"] = "max-age=31536000"

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in told.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_headers)
