"""Rate limits of HTTP requests: counting, response headers, and the dependency for features.

A feature limits its writes per account where it makes its router:

    WRITES = Limit("playlist-writes", 100, per=timedelta(hours=1))
    router = APIRouter(dependencies=[Depends(rate_limited(WRITES, key=account_key))])
"""

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Request
from starlette.types import Scope

from audifi.core.http import problems
from audifi.core.http.dependencies import services_of
from audifi.core.http.openapi import raises
from audifi.core.rate_limiting.approximate import ApproximateRateLimiter
from audifi.core.rate_limiting.limits import Limit, LimitStatus, RateLimitExceededError

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})  # RFC 9110, 9.2.1

type Key = Callable[..., Awaitable[str]]
"""A dependency that returns the subject of a request: `client_key` of core.http.client_info, auth's `account_key`."""


def count_request(scope: Scope, limiter: ApproximateRateLimiter, limit: Limit, subject: str) -> None:
    """Count a request, and keep the limit's status for the response headers.

    Raises:
        RateLimitExceededError: answered with 429.
    """
    status = limiter.hit(limit, subject)
    scope.setdefault("state", {}).setdefault("rate_limits", []).extend(status.headers)


def rate_limited(limit: Limit, *, key: Key, reads: bool = False) -> Callable[[Request, str], Awaitable[None]]:
    """Make a dependency that counts requests against a limit per subject.

    Args:
        limit: shared by all routes that depend on it.
        key: the subject. `account_key` checks the access token, for reads, too.
        reads: whether safe methods count as well.
    """
    example = RateLimitExceededError(LimitStatus(limit, 0, limit.seconds))

    @raises(problems.rate_limit_exceeded(example))
    async def count(request: Request, subject: Annotated[str, Depends(key)]) -> None:
        if reads or request.method not in SAFE_METHODS:
            count_request(request.scope, services_of(request).request_limiter, limit, subject)

    return count
