from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Request, Response, status

from audifi.auth import addresses, cookies, limits, problems, queries, schemas, service, sessions
from audifi.auth.context import AuthContext
from audifi.auth.dependencies import (
    AccessTokenDep,
    AuthContextDep,
    Bearer,
    CurrentUser,
    RecentlyAuthenticatedUser,
    UncountedAccessTokenDep,
)
from audifi.auth.models import Delivery
from audifi.auth.sessions import TokenSet
from audifi.auth.tokens import InvalidTokenError, RefreshToken
from audifi.core.feature import DeletionGuard
from audifi.core.http.dependencies import DatabaseDep, Now, services_of
from audifi.core.http.openapi import operation_id, raises
from audifi.core.http.problems import Problem
from audifi.core.http.rate_limits import count_request
from audifi.core.http.routing import StrictRoute
from audifi.core.http.schemas import Cursor, PageLimit

router = APIRouter(
    prefix="/api/v1/auth",
    tags=["auth"],
    generate_unique_id_function=operation_id,
    route_class=StrictRoute,
)

SessionId = Annotated[UUID, Path(description="The session's id.", examples=["01930b5a-7c1e-7d3f-8a52-6f0e4b9c2d17"])]
# The contract's example of the 409.
CONFIRMATION_REQUIRED = problems.confirmation_required(
    email="ana@example.com",
    requested_at=datetime(2026, 1, 31, 12, tzinfo=UTC),
    user_agent="Mozilla/5.0 … Firefox/145.0",
)
ACCOUNT_NOT_EMPTY = problems.account_not_empty("Archive the masters that are submitted or approved.")
COOKIE_REFUSED = (problems.token_ambiguous(), problems.origin_refused(), problems.not_json())
LINK_OR_CODE_REFUSED = (
    problems.link_invalid(),
    problems.link_expired(),
    problems.link_used(),
    problems.code_invalid(),
    problems.flow_secret_missing(),
    problems.account_disabled(),
    CONFIRMATION_REQUIRED,
)
REFRESH_TOKEN_REFUSED = (
    problems.refresh_token_missing(),
    *map(problems.refresh_token, ("invalid", "expired", "revoked", "reused")),
)
OPTIONAL: dict[str, Any] = {"security": [{}]}  # the cookie is optional
BY_REFRESH_COOKIE = [Depends(cookies.REFRESH_SCHEME)]


# The most requested routes come first: Starlette matches routes in order.
@router.get("/me", summary="Get the account")
async def get_me(user: CurrentUser) -> schemas.User:
    """Return the account, with its current role: access tokens carry no role."""
    return schemas.User.model_validate(user, from_attributes=True)


@router.patch("/me", summary="Update the account")
async def update_me(
    request: Request, context: AuthContextDep, user: CurrentUser, body: schemas.UserUpdate
) -> schemas.User:
    """Return the updated account."""
    services = services_of(request)
    limit = limits.account_changes(services.settings.account_changes_per_day)
    count_request(request.scope, services.request_limiter, limit, str(user.id))
    changed = await service.update_user(context, user_id=user.id, display_name=body.display_name)
    return schemas.User.model_validate(changed, from_attributes=True)


@router.post("/magic-link/request", status_code=202, summary="Request a sign-in link and code by e-mail")
async def request_magic_link(
    request: Request, response: Response, context: AuthContextDep, body: schemas.MagicLinkRequest
) -> schemas.FlowStarted:
    """The response doesn't reveal whether the account exists. The first sign-in creates it."""
    address = addresses.parse(body.email)
    mailbox = addresses.mailbox_key(address.key)
    services = services_of(request)
    network = context.client.network
    await services.rate_limiter.hit(
        [
            (limits.REQUESTS_PER_CLIENT, network),
            *([(limits.REQUESTS_PER_SITE, site)] if (site := context.client.site) else []),
            (limits.REQUESTS_PER_ADDRESS_AND_CLIENT, f"{mailbox} {network}"),
            (limits.REQUESTS_PER_ADDRESS, mailbox),
            (limits.emails(services.settings.mail_limit_per_hour), "all"),
        ],
        now=context.now,
    )
    flow = await service.request_link(
        context, services.jobs, address=address, redirect_to=body.redirect_to, delivery=body.delivery
    )
    by_cookie = body.delivery == "cookie"
    seconds = int(service.FLOW_LIFETIME.total_seconds())
    if by_cookie:
        cookies.set_cookie(request, response, cookies.FLOW, flow.secret, seconds=seconds)
    elif cookies.has_cookie(request, cookies.FLOW):  # of an earlier flow: verify refuses two secrets
        cookies.clear_cookie(request, response, cookies.FLOW)
    return schemas.FlowStarted(
        flow_id=flow.id,
        expires_in=seconds,
        resend_after=int(service.RESEND_AFTER.total_seconds()),
        flow_secret=None if by_cookie else flow.secret,
    )


@router.post(
    "/magic-link/verify",
    summary="Sign in with a link or a code",
    dependencies=[Depends(cookies.FLOW_SCHEME)],
    openapi_extra=OPTIONAL,
)
@raises(*LINK_OR_CODE_REFUSED, *COOKIE_REFUSED)
async def verify_magic_link(
    request: Request, response: Response, context: AuthContextDep, body: schemas.MagicLinkVerify
) -> schemas.SignInTokens:
    """409 asks for the person's confirmation and leaves the link valid: mail scanners open links and press buttons."""
    services = services_of(request)
    await services.rate_limiter.hit([(limits.VERIFIES_PER_CLIENT, context.client.network)], now=context.now)
    flow_secret = cookies.read_credential(request, cookies.FLOW, body.flow_secret)
    replaces = _read(context, cookies.read_credential(request, cookies.REFRESH, None))
    if body.token is not None:
        secret = flow_secret.value if flow_secret else None
        signed_in = await service.verify_link(
            context, token=body.token, flow_secret=secret, confirm=body.confirm, replaces=replaces
        )
    elif flow_secret is None:
        raise problems.flow_secret_missing()
    else:
        assert body.flow_id is not None  # noqa: S101 - MagicLinkVerify checks it
        assert body.code is not None  # noqa: S101
        signed_in = await service.verify_code(
            context,
            services.jobs,
            flow_id=body.flow_id,
            code=body.code,
            flow_secret=flow_secret.value,
            replaces=replaces,
        )
    delivery = body.delivery or signed_in.user.delivery
    if flow_secret and flow_secret.delivery == "cookie":
        cookies.clear_cookie(request, response, cookies.FLOW)
        delivery = "cookie"  # a script must not get a token that replaces an HttpOnly cookie
    tokens = _deliver(request, response, context, signed_in.tokens, delivery)
    return schemas.SignInTokens(
        **dict(tokens),
        user=schemas.User.model_validate(signed_in.user, from_attributes=True),
        created=signed_in.user.created,
        redirect_to=signed_in.user.redirect_to,
    )


@router.post("/refresh", summary="Refresh the session", dependencies=BY_REFRESH_COOKIE, openapi_extra=OPTIONAL)
@raises(*REFRESH_TOKEN_REFUSED, *COOKIE_REFUSED)
async def refresh_session(
    request: Request, response: Response, context: AuthContextDep, body: schemas.RefreshRequest | None = None
) -> schemas.Tokens:
    """Exchange a refresh token for the next one.

    A repeated request gets the same refresh token again, until that one is used. Then the old token ends the session.
    """
    credential = cookies.read_credential(request, cookies.REFRESH, body.refresh_token if body else None)
    if credential is None:
        raise problems.refresh_token_missing()
    token = _read(context, credential)
    try:
        if token is None:
            raise problems.refresh_token("invalid")
        token_set = await sessions.refresh(context, services_of(request).rate_limiter, token)
    except Problem as problem:
        is_over = problem.status == status.HTTP_401_UNAUTHORIZED and not isinstance(problem, problems.SessionReplaced)
        if is_over and credential.delivery == "cookie":
            raise cookies.clearing(request, problem, cookies.REFRESH) from None
        raise
    return _deliver(request, response, context, token_set, credential.delivery)


@router.post(
    "/logout", status_code=204, summary="End this session", dependencies=BY_REFRESH_COOKIE, openapi_extra=OPTIONAL
)
@raises(*COOKIE_REFUSED)
async def log_out(
    request: Request,
    response: Response,
    context: AuthContextDep,
    bearer: Bearer,
    body: schemas.RefreshRequest | None = None,
) -> None:
    """Takes an access token, even an expired one, or a refresh token. Repeating it is no error."""
    credential = cookies.read_credential(request, cookies.REFRESH, body.refresh_token if body else None)
    session_id = None
    if bearer is not None:
        with suppress(InvalidTokenError):
            claims = context.keys.read_access_token(bearer.credentials, now=context.now, expired_too=True)
            session_id = claims.session_id
    await sessions.sign_out(context, refresh_token=_read(context, credential), session_id=session_id)
    if credential is not None and credential.delivery == "cookie":
        cookies.clear_cookie(request, response, cookies.REFRESH)


@router.get("/sessions", summary="List the account's sessions")
async def list_sessions(
    request: Request,
    database: DatabaseDep,
    claims: AccessTokenDep,
    now: Now,
    limit: PageLimit = 20,
    cursor: Cursor = None,
) -> schemas.SessionPage:
    """Return the active sessions, newest first."""
    page = await queries.SESSIONS.fetch(
        database,
        services_of(request).cursors,
        sort=queries.NEWEST_FIRST,
        limit=limit,
        cursor=cursor,
        user_id=claims.user_id,
        now=now,
    )
    return queries.session_page(page, current=claims.session_id)


@router.delete("/sessions/{session_id}", status_code=204, summary="End one of the account's sessions")
@raises(problems.not_found())
async def end_session(context: AuthContextDep, claims: UncountedAccessTokenDep, session_id: SessionId) -> None:
    """Revoke the session's refresh token at once, and its access token within 2 s."""
    if not await sessions.end_session(context, user_id=claims.user_id, session_id=session_id):
        raise problems.not_found()


@router.delete("/sessions", status_code=204, summary="End all other sessions of the account")
async def end_other_sessions(context: AuthContextDep, claims: UncountedAccessTokenDep) -> None:
    """End every session except the current one, for example after an unknown sign-in."""
    await sessions.end_other_sessions(context, user_id=claims.user_id, current=claims.session_id)


@router.delete("/me", status_code=204, summary="Delete the account")
@raises(ACCOUNT_NOT_EMPTY)
async def delete_me(
    request: Request, response: Response, context: AuthContextDep, user: RecentlyAuthenticatedUser
) -> None:
    """Delete the account permanently. Requires a sign-in of the last 5 minutes.

    The address becomes free for a new account. Records of other users keep a reference to an empty account.
    """
    guards: Sequence[DeletionGuard] = request.app.state.deletion_guards
    await service.delete_user(context, user_id=user.id, email_key=user.email_key, guards=guards)
    cookies.clear_cookie(request, response, cookies.REFRESH)


@router.get("/me/activity", summary="List the account's activity")
async def list_activity(
    request: Request, database: DatabaseDep, claims: AccessTokenDep, limit: PageLimit = 20, cursor: Cursor = None
) -> schemas.ActivityPage:
    """Return sign-ins, changes and operators' actions, newest first."""
    page = await queries.EVENTS.fetch(
        database,
        services_of(request).cursors,
        sort=queries.NEWEST_FIRST,
        limit=limit,
        cursor=cursor,
        user_id=claims.user_id,
    )
    return queries.event_page(page)


def _read(context: AuthContext, credential: cookies.PresentedCredential | None) -> RefreshToken | None:
    """Parse a refresh token; None if it is missing or malformed."""
    try:
        return context.keys.read_refresh_token(credential.value) if credential else None
    except InvalidTokenError:
        return None


def _deliver(
    request: Request, response: Response, context: AuthContext, token_set: TokenSet, delivery: Delivery
) -> schemas.Tokens:
    by_cookie = delivery == "cookie"
    if by_cookie:
        seconds = int((token_set.session.idle_expires_at - context.now).total_seconds())
        cookies.set_cookie(request, response, cookies.REFRESH, token_set.refresh_token, seconds=seconds)
    return schemas.Tokens(
        access_token=token_set.access_token,
        token_type="Bearer",  # noqa: S106
        expires_in=token_set.expires_in,
        refresh_token=None if by_cookie else token_set.refresh_token,
        session=schemas.SessionCreated.model_validate(token_set.session, from_attributes=True),
    )
