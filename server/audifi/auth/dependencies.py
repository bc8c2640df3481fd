"""FastAPI dependencies that authenticate a request:

    async def route(claims: AccessTokenDep): …              # a valid access token; no query
    async def route(claims: UncountedAccessTokenDep): …     # the same, exempt from the account's rate limit
    async def route(user: CurrentUser): …                   # session and account checked in the database
    async def route(user: OptionalUser): …                  # the same, or None without a token
    async def route(user: RecentlyAuthenticatedUser): …     # the same, with a sign-in of the last 5 minutes
    async def route(user: Annotated[CheckedUser, Depends(require_role("admin"))]): …

Routes that move money or grant rights depend on CurrentUser (OWASP ASVS 5, 7.4.1).
"""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy import bindparam, select

from audifi.auth import problems
from audifi.auth.context import AuthContext
from audifi.auth.models import Role
from audifi.auth.session_checks import CheckedUser
from audifi.auth.sessions import SESSIONS, is_live
from audifi.auth.tokens import AccessTokenClaims, ExpiredTokenError, InvalidTokenError
from audifi.core.db.statements import Statement
from audifi.core.http.client_info import client_info
from audifi.core.http.dependencies import DATABASE_PROBLEMS, Now, services_of
from audifi.core.http.openapi import raises
from audifi.core.http.rate_limits import count_request

RECENT = timedelta(minutes=5)

BEARER = HTTPBearer(
    scheme_name="AccessToken",
    bearerFormat="JWT",
    description="An access token from sign-in or refresh.",
    auto_error=False,
)
Bearer = Annotated[
    HTTPAuthorizationCredentials | None,
    Depends(BEARER),
]


# Plain calls instead of nested dependencies, here and below: FastAPI's resolution costs more than a call.
@raises(*DATABASE_PROBLEMS)
async def get_context(request: Request) -> AuthContext:
    """Return the context of the service functions."""
    services = services_of(request)
    return AuthContext(
        database=services.database,
        now=services.clock(),
        client=await client_info(request),
        keys=services.keys,
        revoked=services.revoked_sessions,
    )


AuthContextDep = Annotated[AuthContext, Depends(get_context)]
LIVE_SESSION = Statement(select(SESSIONS.c.id).where(SESSIONS.c.id == bindparam("session_id"), is_live()))


NOT_SIGNED_IN = (
    problems.access_token_missing(),
    problems.access_token_invalid(expired=True),
    problems.access_token_invalid(),
    *DATABASE_PROBLEMS,
)


@raises(*NOT_SIGNED_IN)
async def uncounted_access_token(request: Request, bearer: Bearer) -> AccessTokenClaims:
    """Return the claims of a valid access token whose session wasn't revoked.

    Raises:
        Problem: 401.
    """
    services = services_of(request)
    if bearer is None:
        raise problems.access_token_missing()
    now, revoked = services.clock(), services.revoked_sessions
    try:
        claims = services.keys.read_access_token(bearer.credentials, now=now)
    except InvalidTokenError as error:
        raise problems.access_token_invalid(expired=isinstance(error, ExpiredTokenError)) from None
    request.state.user_id = claims.user_id  # for core/http/middleware/instrumentation
    if claims.session_id in revoked:
        raise problems.access_token_invalid()
    if revoked.is_current:
        return claims
    if await services.database.fetch_value(LIVE_SESSION, session_id=claims.session_id, now=now) is None:
        raise problems.access_token_invalid()
    return claims


@raises(*NOT_SIGNED_IN)
async def access_token(request: Request, bearer: Bearer) -> AccessTokenClaims:
    """Return the claims, and count the request for the account. Requests with revoked sessions aren't counted.

    Raises:
        Problem: 401.
        RateLimitExceededError: 429.
    """
    claims = await uncounted_access_token(request, bearer)
    limiter = services_of(request).request_limiter
    count_request(request.scope, limiter, limiter.per_account, str(claims.user_id))
    return claims


AccessTokenDep = Annotated[AccessTokenClaims, Depends(access_token)]
UncountedAccessTokenDep = Annotated[AccessTokenClaims, Depends(uncounted_access_token)]
"""For ending sessions: a thief who exhausts the account's limit must not keep the owner from ending the session."""


async def account_key(claims: AccessTokenDep) -> str:
    """Return the key that a request is counted by, for `rate_limited`."""
    return str(claims.user_id)


@raises(problems.access_token_invalid())
async def current_user(request: Request, claims: AccessTokenDep) -> CheckedUser:
    """Return the account of the request, from its row.

    Raises:
        Problem: 401, also if the session has just ended on another machine.
    """
    services = services_of(request)
    user = await services.session_checks.check(
        session_id=claims.session_id, user_id=claims.user_id, now=services.clock()
    )
    if user is None:
        raise problems.access_token_invalid()
    return user


CurrentUser = Annotated[CheckedUser, Depends(current_user)]


@raises(*NOT_SIGNED_IN, problems.access_token_invalid())
async def optional_user(request: Request, bearer: Bearer) -> CheckedUser | None:
    """Return the account of a request with an access token; None without one.

    Raises:
        Problem: 401, the token isn't valid.
    """
    if bearer is None:
        return None
    return await current_user(request, await access_token(request, bearer))


OptionalUser = Annotated[CheckedUser | None, Depends(optional_user)]
"""For routes that anonymous clients may call, too: add `openapi_extra={"security": [{}]}`."""


@raises(problems.recent_sign_in_required(int(RECENT.total_seconds())))
async def recently_authenticated_user(user: CurrentUser, now: Now) -> CheckedUser:
    """Return the current user, if the sign-in is at most 5 minutes old.

    Raises:
        Problem: 401; the person must sign in again (RFC 9470).
    """
    if now - user.auth_time > RECENT:
        raise problems.recent_sign_in_required(int(RECENT.total_seconds()))
    return user


RecentlyAuthenticatedUser = Annotated[CheckedUser, Depends(recently_authenticated_user)]


def require_role(*roles: Role) -> Callable[[CheckedUser], Awaitable[CheckedUser]]:
    """Make a dependency on the current user's role, read from the database: a token's copy could be outdated.

    Raises:
        Problem: 401, or 403.
    """

    @raises(problems.insufficient_role(roles))
    async def user_with_role(user: CurrentUser) -> CheckedUser:
        if user.role not in roles:
            raise problems.insufficient_role(roles)
        return user

    return user_with_role
