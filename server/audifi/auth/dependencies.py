"""What routes ask for, in their signature:

    async def route(token: SignedIn): …                                   # an access token; no query
    async def route(token: SignedInUncounted): …                          # the same beyond the account's limit, too
    async def route(account: CheckedAccount): …                           # its session and account, from their rows
    async def route(account: FreshAccount): …                             # and a sign-in of the last 5 minutes
    async def route(account: Annotated[Account, Depends(with_role("admin"))]): …

What moves money, or grants rights, asks for a checked account (OWASP ASVS 5, 7.4.1).
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy import bindparam, select
from sqlalchemy.ext.asyncio import AsyncSession

from audifi.auth import problems
from audifi.auth.context import Context
from audifi.auth.models import Role, Session, User
from audifi.auth.sessions import is_live
from audifi.auth.tokens import AccessToken, ExpiredTokenError, InvalidTokenError
from audifi.core.db.statements import Statement
from audifi.core.http.client_info import client_of
from audifi.core.http.dependencies import DATABASE_PROBLEMS, Now, current_time, services_of
from audifi.core.http.openapi import raises
from audifi.core.http.rate_limits import count_request
from audifi.core.http.session import get_session

FRESH = timedelta(minutes=5)

SessionDep = Annotated[AsyncSession, Depends(get_session, scope="function")]
BEARER = HTTPBearer(
    scheme_name="AccessToken",
    bearerFormat="JWT",
    description="An access token, from sign-in or refresh.",
    auto_error=False,
)
Bearer = Annotated[
    HTTPAuthorizationCredentials | None,
    Depends(BEARER),
]


# Others are called and not taken by Depends, here and below: where a route isn't direct, FastAPI takes for each as long
# as for all that `signed_in` does.
async def get_context(request: Request, session: SessionDep) -> Context:
    services = services_of(request)
    return Context(
        session=session,
        now=services.clock(),
        client=await client_of(request),
        keys=services.keys,
        revoked=services.revoked_sessions,
    )


LIVE_SESSION = Statement(select(Session.id).where(Session.id == bindparam("session_id"), is_live(bindparam("now"))))
ACCOUNT = Statement(
    select(
        User.id,
        User.email,
        User.email_key,
        User.display_name,
        User.role,
        User.created_at,
        Session.id.label("session_id"),
        Session.auth_time,
    )
    .join(Session, Session.user_id == User.id)
    .where(Session.id == bindparam("session_id"), User.id == bindparam("user_id"), is_live(bindparam("now")))
    .where(User.disabled_at.is_(None), User.deleted_at.is_(None))
)


NOT_SIGNED_IN = (
    problems.access_token_missing(),
    problems.access_token_invalid(expired=True),
    problems.access_token_invalid(),
    *DATABASE_PROBLEMS,
)


@raises(*NOT_SIGNED_IN)
async def signed_in_uncounted(request: Request, bearer: Bearer) -> AccessToken:
    """
    Raises:
        Problem: 401.
    """
    at = await current_time(request)
    if bearer is None:
        raise problems.access_token_missing()
    services = services_of(request)
    revoked = services.revoked_sessions
    try:
        token = services.keys.read_access_token(bearer.credentials, now=at)
    except InvalidTokenError as error:
        raise problems.access_token_invalid(expired=isinstance(error, ExpiredTokenError)) from None
    request.state.user_id = token.user_id  # for core/http/middleware/instrumentation
    if token.session_id in revoked:
        raise problems.access_token_invalid()
    if revoked.is_current:
        return token
    if await services.database.fetch_value(LIVE_SESSION, session_id=token.session_id, now=at) is None:
        raise problems.access_token_invalid()
    return token


@raises(*NOT_SIGNED_IN)
async def signed_in(request: Request, bearer: Bearer) -> AccessToken:
    """
    Raises:
        Problem: 401, 429.
    """
    token = await signed_in_uncounted(request, bearer)
    # Last: who was signed out uses up nothing of the account's.
    limiter = services_of(request).request_limiter
    count_request(request.scope, limiter, limiter.per_account, str(token.user_id))
    return token


SignedIn = Annotated[AccessToken, Depends(signed_in)]
SignedInUncounted = Annotated[AccessToken, Depends(signed_in_uncounted)]
"""For what ends sessions: who has stolen one must not keep the owner from it by asking as much as the account may."""


async def account_key(token: SignedIn) -> str:
    """Return the account that a request counts for, for `rate_limited`."""
    return str(token.user_id)


@dataclass(frozen=True, slots=True)
class Account:
    """Whose request it is, as their rows say at this moment."""

    id: UUID
    email: str
    email_key: str
    display_name: str | None
    role: Role
    created_at: datetime
    session_id: UUID
    auth_time: datetime


@raises(problems.access_token_invalid())
async def checked_account(request: Request, token: SignedIn) -> Account:
    """
    Raises:
        Problem: 401, also for a session that ended a moment ago on another machine.
    """
    database, at = services_of(request).database, await current_time(request)
    account = await database.fetch_one(ACCOUNT, Account, session_id=token.session_id, user_id=token.user_id, now=at)
    if account is None:
        raise problems.access_token_invalid()
    return account


CheckedAccount = Annotated[Account, Depends(checked_account)]


@raises(problems.fresh_sign_in_required(int(FRESH.total_seconds())))
async def fresh_account(account: CheckedAccount, at: Now) -> Account:
    """
    Raises:
        Problem: 401; the client is to have the person sign in again (RFC 9470).
    """
    if at - account.auth_time > FRESH:
        raise problems.fresh_sign_in_required(int(FRESH.total_seconds()))
    return account


FreshAccount = Annotated[Account, Depends(fresh_account)]


def with_role(*roles: Role) -> Callable[[Account], Awaitable[Account]]:
    """A checked account that has one of these roles now; tokens don't carry it, because it would go stale.

    Raises:
        Problem: 401, or 403.
    """

    @raises(problems.role_required(roles))
    async def account_with_role(account: CheckedAccount) -> Account:
        if account.role not in roles:
            raise problems.role_required(roles)
        return account

    return account_with_role
