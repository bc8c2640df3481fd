"""Middleware of the limit per client."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from audifi.core.http import problems
from audifi.core.http.client_info import network_of
from audifi.core.http.rate_limits import count_request
from audifi.core.rate_limiting.approximate import ApproximateRateLimiter
from audifi.core.rate_limiting.limits import RateLimitExceededError


class RateLimitMiddleware:
    """Counts each request for its client, and adds what is left of all its limits to the response."""

    def __init__(self, app: ASGIApp, *, limiter: ApproximateRateLimiter) -> None:
        self._app = app
        self._limiter = limiter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_limits(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = scope["state"].get("rate_limits", [])
                message["headers"].extend((name.lower().encode(), value.encode()) for name, value in headers)
            await send(message)

        client = scope["client"]
        try:
            count_request(scope, self._limiter, self._limiter.per_client, network_of(client[0] if client else ""))
        except RateLimitExceededError as error:
            problem = problems.rate_limit_exceeded(error)
            await problems.response(scope, problem)(scope, receive, send)
        else:
            await self._app(scope, receive, send_with_limits)
