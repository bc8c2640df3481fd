"""Sessions: refresh, revocation and sign-out."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import BindParameter, ColumnElement, bindparam, func, select, update

from audifi.auth import limits, problems
from audifi.auth.context import ADD_EVENT, AuthContext, event_values, record_audit_event
from audifi.auth.models import RevokedReason, Session, User
from audifi.auth.tokens import RefreshToken
from audifi.core.db.database import Transaction
from audifi.core.db.statements import Statement
from audifi.core.rate_limiting.exact import RateLimiter

IDLE_LIFETIME = timedelta(days=7)
ABSOLUTE_LIFETIME = timedelta(days=30)
MAX_SESSIONS = 20

SESSIONS = Session.__table__
NOW: BindParameter[datetime] = bindparam("now", type_=SESSIONS.c.created_at.type)


@dataclass(frozen=True, slots=True)
class SessionRow:
    """A session, as needed to make its tokens."""

    id: UUID
    user_id: UUID
    refresh_nonce: bytes
    generation: int
    rotated_at: datetime
    auth_time: datetime
    amr: list[str]
    idle_expires_at: datetime
    absolute_expires_at: datetime
    revoked_at: datetime | None
    revoked_reason: RevokedReason | None


@dataclass(frozen=True, slots=True)
class SessionOfUser(SessionRow):
    """A session, and the time of its account's suspension."""

    disabled_at: datetime | None


@dataclass(frozen=True, slots=True)
class EndedSession:
    id: UUID
    user_id: UUID


@dataclass(frozen=True, kw_only=True)
class TokenSet:
    """The tokens that a client gets from sign-in and refresh."""

    access_token: str
    expires_in: int
    refresh_token: str
    session: SessionRow


def is_live(now: BindParameter[datetime] = NOW) -> ColumnElement[bool]:
    """Return the condition for an active session.

    A constraint guarantees that idle_expires_at is at most absolute_expires_at.
    """
    return SESSIONS.c.revoked_at.is_(None) & (SESSIONS.c.idle_expires_at > now)


def _revoke(condition: ColumnElement[bool]) -> Statement:
    return Statement(
        update(SESSIONS)
        .where(condition, is_live())
        .values(revoked_at=NOW, revoked_reason=bindparam("reason"))
        .returning(SESSIONS.c.id, SESSIONS.c.user_id)
    )


SESSION_COLUMNS = [SESSIONS.c[name] for name in SessionRow.__dataclass_fields__]
FIND = Statement(
    select(*SESSION_COLUMNS, User.disabled_at)
    .join_from(SESSIONS, User, User.id == SESSIONS.c.user_id)
    .where(SESSIONS.c.id == bindparam("session_id"))
)
ROTATE = Statement(
    update(SESSIONS)
    .where(SESSIONS.c.id == bindparam("session_id"), SESSIONS.c.generation == bindparam("old_generation"), is_live())
    .values(
        generation=SESSIONS.c.generation + 1,
        rotated_at=NOW,
        last_used_at=NOW,
        idle_expires_at=func.least(bindparam("idle_until", type_=NOW.type), SESSIONS.c.absolute_expires_at),
        ip=bindparam("ip"),
        user_agent=bindparam("user_agent"),
    )
    .returning(*SESSION_COLUMNS)
)
REVOKE_ONE = _revoke(SESSIONS.c.id == bindparam("session_id"))
REVOKE_ONE_OF_USER = _revoke((SESSIONS.c.id == bindparam("session_id")) & (SESSIONS.c.user_id == bindparam("owner_id")))
REVOKE_ALL = _revoke(SESSIONS.c.user_id == bindparam("owner_id"))
REVOKE_OTHERS = _revoke((SESSIONS.c.user_id == bindparam("owner_id")) & (SESSIONS.c.id != bindparam("current_id")))


async def refresh(context: AuthContext, limiter: RateLimiter, token: RefreshToken) -> TokenSet:
    """Exchange a refresh token for one of the next generation.

    A repeated request gets the same refresh token again, until that one is used: the response may have been lost, or
    two tabs have read the token. Reuse of an older token means that it was stolen, and ends the session (RFC 9700,
    4.14.2).

    Raises:
        Problem: 401 or 429.
    """
    session = await _find(context, token)
    if session.disabled_at is not None and session.revoked_at is None:
        # The account was suspended by plain SQL; `users suspend` ends sessions, too.
        async with context.database.transaction() as tx:
            await revoke(tx, context, REVOKE_ALL, reason="suspended", owner_id=session.user_id)
        raise problems.refresh_token("revoked")
    await limiter.hit([(limits.REFRESHES_PER_SESSION, str(token.session_id))], now=context.now)
    rotated = await context.database.write_one(
        ROTATE,
        SessionRow,
        session_id=token.session_id,
        old_generation=token.generation,
        idle_until=context.now + IDLE_LIFETIME,
        **context.recorded,
    )
    if rotated is not None:
        return token_set(context, rotated)
    return await _replay(context, token)


async def _replay(context: AuthContext, token: RefreshToken) -> TokenSet:
    """Return the tokens for a refresh token of an old generation, or end the session."""
    session = await _find(context, token)
    if session.revoked_reason == "replaced":
        raise problems.session_replaced()
    if session.revoked_at is not None:
        raise problems.refresh_token("revoked")
    if session.idle_expires_at <= context.now:
        raise problems.refresh_token("expired")
    if session.generation == token.generation + 1:
        return token_set(context, session)
    async with context.database.transaction() as tx:
        await revoke(tx, context, REVOKE_ONE, reason="reused", session_id=session.id)
        await record_audit_event(tx, context, "refresh_token.reused", user_id=session.user_id, session_id=session.id)
    raise problems.refresh_token("reused")


async def _find(context: AuthContext, token: RefreshToken) -> SessionOfUser:
    """Return the session of a genuine refresh token of any generation.

    Raises:
        Problem: 401.
    """
    session = await context.database.fetch_one(FIND, SessionOfUser, session_id=token.session_id)
    if session is None or not context.keys.is_genuine(token, nonce=session.refresh_nonce):
        raise problems.refresh_token("invalid")
    return session


async def sign_out(context: AuthContext, *, refresh_token: RefreshToken | None, session_id: UUID | None) -> None:
    """End the sessions of a refresh token and of an access token. Ended sessions are unchanged."""
    if refresh_token is None and session_id is None:
        return
    async with context.database.transaction() as tx:
        if refresh_token is not None:
            await sign_out_by_refresh_token(tx, context, refresh_token, reason="signed_out")
        if session_id is not None:
            await revoke(tx, context, REVOKE_ONE, reason="signed_out", session_id=session_id)


async def sign_out_by_refresh_token(
    tx: Transaction, context: AuthContext, token: RefreshToken, *, reason: RevokedReason
) -> None:
    """End the session of a genuine refresh token of any generation."""
    session = await tx.fetch_one(FIND, SessionOfUser, session_id=token.session_id)
    if session is not None and context.keys.is_genuine(token, nonce=session.refresh_nonce):
        await revoke(tx, context, REVOKE_ONE, reason=reason, session_id=session.id)


async def end_session(context: AuthContext, *, user_id: UUID, session_id: UUID) -> bool:
    """End a session of an account; return whether it was active."""
    async with context.database.transaction() as tx:
        ended = await revoke(
            tx, context, REVOKE_ONE_OF_USER, reason="signed_out", session_id=session_id, owner_id=user_id
        )
    return bool(ended)


async def end_other_sessions(context: AuthContext, *, user_id: UUID, current: UUID) -> None:
    """End all sessions of an account except one."""
    async with context.database.transaction() as tx:
        await revoke(tx, context, REVOKE_OTHERS, reason="signed_out", owner_id=user_id, current_id=current)


async def revoke(
    tx: Transaction, context: AuthContext, statement: Statement, *, reason: RevokedReason, **values: Any
) -> list[EndedSession]:
    """End sessions. This process refuses their access tokens after the commit, other machines within 2 s."""
    ended = await tx.fetch_all(statement, EndedSession, now=context.now, reason=reason, **values)
    await record_ended(tx, context, ended, reason=reason)
    return ended


async def record_ended(
    tx: Transaction, context: AuthContext, ended: list[EndedSession], *, reason: RevokedReason
) -> None:
    """Record the end of sessions, and make this process refuse their access tokens after the commit."""
    await tx.execute_many(
        ADD_EVENT,
        [
            event_values(context, "session.revoked", user_id=each.user_id, session_id=each.id, detail=reason)
            for each in ended
        ],
    )
    tx.after_commit(lambda: context.revoked.add([each.id for each in ended], context.now))


def token_set(context: AuthContext, session: SessionRow) -> TokenSet:
    """Make the tokens of a session. The refresh token is deterministic."""
    access_token, expires_in = context.keys.make_access_token(
        user_id=session.user_id,
        session_id=session.id,
        auth_time=session.auth_time,
        amr=session.amr,
        now=context.now,
        until=session.absolute_expires_at,
    )
    return TokenSet(
        access_token=access_token,
        expires_in=expires_in,
        refresh_token=context.keys.make_refresh_token(
            session_id=session.id, nonce=session.refresh_nonce, generation=session.generation
        ),
        session=session,
    )
