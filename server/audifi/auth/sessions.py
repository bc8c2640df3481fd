"""Sessions: how one begins, goes on by refresh tokens, and ends.

Plain functions on a transaction that the caller commits, as in service.py.
"""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import BindParameter, ColumnElement, Row, func, insert, select, update
from uuid6 import uuid7

from audifi.auth import limits, problems
from audifi.auth.context import Context, record
from audifi.auth.models import RevokedReason, Session, User
from audifi.auth.tokens import RefreshToken
from audifi.core.http.session import after_commit
from audifi.core.rate_limiting.exact import RateLimiter

IDLE_LIFETIME = timedelta(days=7)
ABSOLUTE_LIFETIME = timedelta(days=30)
REPLAY_WINDOW = timedelta(seconds=30)
"""For two tabs that refresh at once, and for answers that got lost."""
MAX_SESSIONS = 20


@dataclass(frozen=True, kw_only=True)
class Grant:
    """What a client gets when it has signed in, or refreshed."""

    access_token: str
    expires_in: int
    refresh_token: str
    session: Row[Any]


async def begin(context: Context, *, user_id: UUID, amr: list[str]) -> Row[Any]:
    new = (
        insert(Session)
        .values(
            id=uuid7(),
            user_id=user_id,
            refresh_nonce=secrets.token_bytes(32),
            rotated_at=context.now,
            auth_time=context.now,
            amr=amr,
            created_at=context.now,
            last_used_at=context.now,
            idle_expires_at=context.now + IDLE_LIFETIME,
            absolute_expires_at=context.now + ABSOLUTE_LIFETIME,
            ip=context.client.ip,
            user_agent=context.client.user_agent,
        )
        .returning(*Session.__table__.columns)
    )
    row = (await context.session.execute(new)).one()
    await record(context, "session.created", user_id=user_id, session_id=row.id)
    too_many = (
        select(Session.id)
        .where(Session.user_id == user_id, is_live(context.now))
        .order_by(Session.id.desc())
        .offset(MAX_SESSIONS)
    )
    await revoke(context, Session.id.in_(too_many), reason="too_many")
    return row


async def refresh(context: Context, limiter: RateLimiter, token: RefreshToken) -> Grant:
    """Swap a refresh token for the next generation's.

    One that was just used gets the same answer again, for 30 s; an older one means that it was stolen, from this client
    or by it, and ends the session (RFC 9700, 4.14.2).

    Raises:
        Problem: 401 or 429.
    """
    found = await _row(context, token.session_id)
    if found is None or not context.keys.is_genuine(token, nonce=found.refresh_nonce):
        raise problems.refresh_token("invalid")
    if found.disabled_at is not None and found.revoked_at is None:  # by SQL alone: the console ends sessions, too
        await revoke(context, Session.user_id == found.user_id, reason="suspended")
        await context.session.commit()
        raise problems.refresh_token("revoked")
    await context.session.commit()  # gives the connection back: the limiter takes one of its own
    await limiter.hit([(limits.REFRESHES_PER_SESSION, str(token.session_id))], now=context.now)
    rotate = (
        update(Session)
        .where(Session.id == token.session_id, Session.generation == token.generation, is_live(context.now))
        .values(
            generation=Session.generation + 1,
            rotated_at=context.now,
            last_used_at=context.now,
            idle_expires_at=func.least(context.now + IDLE_LIFETIME, Session.absolute_expires_at),
            ip=context.client.ip,
            user_agent=context.client.user_agent,
        )
        .returning(*Session.__table__.columns)
    )
    row = (await context.session.execute(rotate)).one_or_none()
    if row is not None:
        return grant(context, row)
    row = await _row(context, token.session_id)
    if row is None:
        raise problems.refresh_token("invalid")
    if row.revoked_reason == "replaced":
        raise problems.session_replaced()
    if row.revoked_at is not None:
        raise problems.refresh_token("revoked")
    if row.idle_expires_at <= context.now:
        raise problems.refresh_token("expired")
    if row.generation == token.generation + 1 and context.now - row.rotated_at <= REPLAY_WINDOW:
        return grant(context, row)
    await revoke(context, Session.id == row.id, reason="reused")
    await record(context, "refresh_token.reused", user_id=row.user_id, session_id=row.id)
    await context.session.commit()
    raise problems.refresh_token("reused")


async def sign_out(context: Context, *, session_id: UUID) -> None:
    """End a session; one that has ended stays as it is."""
    await revoke(context, Session.id == session_id, reason="signed_out")


async def sign_out_by_refresh_token(context: Context, token: RefreshToken, *, reason: RevokedReason) -> None:
    """The same for whoever holds a refresh token of the session, of whichever generation."""
    row = await _row(context, token.session_id)
    if row is not None and context.keys.is_genuine(token, nonce=row.refresh_nonce):
        await revoke(context, Session.id == row.id, reason=reason)


async def end_session(context: Context, *, user_id: UUID, session_id: UUID) -> bool:
    """Whether there was such a session of this account."""
    one = (Session.id == session_id) & (Session.user_id == user_id)
    return bool(await revoke(context, one, reason="signed_out"))


async def end_other_sessions(context: Context, *, user_id: UUID, current: UUID) -> None:
    await revoke(context, (Session.user_id == user_id) & (Session.id != current), reason="signed_out")


async def revoke(context: Context, which: ColumnElement[bool], *, reason: RevokedReason) -> list[UUID]:
    """End sessions: their refresh tokens at once, their access tokens with the commit, elsewhere within 2 s."""
    ended = (
        update(Session)
        .where(which, is_live(context.now))
        .values(revoked_at=context.now, revoked_reason=reason)
        .returning(Session.id, Session.user_id)
    )
    rows = (await context.session.execute(ended)).all()
    for row in rows:
        await record(context, "session.revoked", user_id=row.user_id, session_id=row.id, detail=reason)
    ids = [row.id for row in rows]
    after_commit(context.session, lambda: context.revoked.add(ids, context.now))
    return ids


def is_live(now: datetime | BindParameter[datetime]) -> ColumnElement[bool]:
    """A session that hasn't ended. idle_expires_at is never after absolute_expires_at; a constraint sees to it."""
    return Session.revoked_at.is_(None) & (Session.idle_expires_at > now)


async def _row(context: Context, session_id: UUID) -> Row[Any] | None:
    """Of the session, and whether its account is suspended."""
    columns = [*Session.__table__.columns, User.__table__.c.disabled_at]
    found = select(*columns).join(User).where(Session.id == session_id)
    return (await context.session.execute(found)).one_or_none()


def grant(context: Context, row: Row[Any]) -> Grant:
    """Tokens for the session as it is in the row. The same row makes the same refresh token."""
    access_token, expires_in = context.keys.make_access_token(
        user_id=row.user_id,
        session_id=row.id,
        auth_time=row.auth_time,
        amr=row.amr,
        now=context.now,
        until=row.absolute_expires_at,
    )
    return Grant(
        access_token=access_token,
        expires_in=expires_in,
        refresh_token=context.keys.make_refresh_token(
            session_id=row.id, nonce=row.refresh_nonce, generation=row.generation
        ),
        session=row,
    )
