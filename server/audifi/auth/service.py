"""What is decided and written when someone signs in, stays, and leaves.

Plain functions on a session whose transaction the caller commits. What must outlive an error is committed here, before
it is raised. Rows are read with Core: objects of the session would be stale after another's commit.
"""

import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Boolean, ColumnElement, Row, func, insert, literal_column, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncSession
from uuid6 import uuid7

from audifi.auth import limits, problems
from audifi.auth.addresses import Address
from audifi.auth.client import Client
from audifi.auth.jobs import SIGN_IN_MAIL, SignInMail
from audifi.auth.models import AuthEvent, Delivery, EventName, RevokedReason, Session, SignInFlow, User
from audifi.auth.revocations import RevokedSessions
from audifi.auth.tokens import Keys, RefreshToken, new_secret
from audifi.core.jobs import Jobs
from audifi.core.problems import Problem
from audifi.core.rate_limits import RateLimiter
from audifi.core.session import after_commit

FLOW_LIFETIME = timedelta(minutes=10)
RESEND_AFTER = timedelta(seconds=60)
CODE_ATTEMPTS = 5
IDLE_LIFETIME = timedelta(days=7)
ABSOLUTE_LIFETIME = timedelta(days=30)
REPLAY_WINDOW = timedelta(seconds=30)
"""For two tabs that refresh at once, and for answers that got lost."""
MAX_SESSIONS = 20


@dataclass(frozen=True, kw_only=True)
class Context:
    """What the functions below have in common: the transaction, the instant, who asks, and what the process holds."""

    session: AsyncSession
    now: datetime
    client: Client
    keys: Keys
    revoked: RevokedSessions


@dataclass(frozen=True, kw_only=True)
class Flow:
    id: UUID
    expires_at: datetime
    secret: str


@dataclass(frozen=True, kw_only=True)
class Grant:
    """What a client gets when it has signed in, or refreshed."""

    access_token: str
    expires_in: int
    refresh_token: str
    session: Row[Any]


@dataclass(frozen=True, kw_only=True)
class SignIn:
    grant: Grant
    user: Row[Any]
    flow: Row[Any]


async def request_link(
    context: Context, jobs: Jobs, *, address: Address, redirect_to: str | None, delivery: Delivery
) -> Flow:
    """Write a flow and queue its mail. The same work for every address: nothing is looked up."""
    seed = secrets.token_bytes(32)
    link, *_ = context.keys.links(seed)
    flow = Flow(id=uuid7(), expires_at=context.now + FLOW_LIFETIME, secret=new_secret())
    await context.session.execute(
        insert(SignInFlow).values(
            id=flow.id,
            email=address.email,
            email_key=address.key,
            token_hash=context.keys.digests("link token", link.token)[0],
            code_hash=context.keys.digests("code", flow.id.bytes, link.code)[0],
            flow_hash=context.keys.digests("flow secret", flow.secret)[0],
            delivery=delivery,
            redirect_to=redirect_to,
            ip=context.client.ip,
            user_agent=context.client.user_agent,
            created_at=context.now,
            expires_at=flow.expires_at,
        )
    )
    await jobs.enqueue(context.session, SIGN_IN_MAIL, SignInMail(flow_id=flow.id, seed=seed).to_bytes())
    return flow


async def verify_link(
    context: Context, *, token: str, flow_secret: str | None, confirm: bool, replaces: RefreshToken | None
) -> SignIn:
    """Use a link, in the browser that asked for it, or in another if the person agrees.

    Args:
        replaces: the session that the browser has so far; it ends (OWASP ASVS 5, 7.2.4).

    Raises:
        Problem: 401, 403, or 409, which leaves the link as it is.
    """
    link = SignInFlow.token_hash.in_(context.keys.digests("link token", token))
    allowed = link if confirm else link & _is_of_flow(context.keys, flow_secret)
    flow = await _consume(context, allowed)
    if flow is None:
        raise await _why_link_is_refused(context, link)
    return await _sign_in(context, flow, amr=["email"], replaces=replaces)


async def verify_code(
    context: Context, *, flow_id: UUID, code: str, flow_secret: str | None, replaces: RefreshToken | None
) -> SignIn:
    """Use a code, in the browser that asked for it.

    The attempt is counted and committed before the code is looked at, so attempts at once get no more than five.

    Raises:
        Problem: 401 or 403.
    """
    flow = (SignInFlow.id == flow_id) & _is_of_flow(context.keys, flow_secret)
    counted = (
        update(SignInFlow)
        .where(flow, _is_open(context.now), SignInFlow.code_attempts < CODE_ATTEMPTS)
        .values(code_attempts=SignInFlow.code_attempts + 1)
        .returning(SignInFlow.code_hash)
    )
    code_hash = (await context.session.execute(counted)).scalar_one_or_none()
    await context.session.commit()
    if code_hash is None:
        raise await _why_code_is_refused(context, flow)
    digests = context.keys.digests("code", flow_id.bytes, code)
    if sum(hmac.compare_digest(code_hash, digest) for digest in digests) == 0:  # compares with each, whatever it finds
        raise problems.code_invalid()
    consumed = await _consume(context, flow)
    if consumed is None:  # by another request, since
        raise await _why_code_is_refused(context, flow)
    return await _sign_in(context, consumed, amr=["email", "otp"], replaces=replaces)


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
        return _grant(context, row)
    row = await _row(context, token.session_id)
    if row is None:
        raise problems.refresh_token("invalid")
    if row.revoked_at is not None:
        raise problems.refresh_token("revoked")
    if row.idle_expires_at <= context.now:
        raise problems.refresh_token("expired")
    if row.generation == token.generation + 1 and context.now - row.rotated_at <= REPLAY_WINDOW:
        return _grant(context, row)
    await revoke(context, Session.id == row.id, reason="reused")
    await record(context, "refresh_token.reused", user_id=row.user_id, session_id=row.id)
    await context.session.commit()
    raise problems.refresh_token("reused")


async def sign_out(context: Context, *, session_id: UUID) -> None:
    """End a session; one that has ended stays as it is."""
    await revoke(context, Session.id == session_id, reason="signed_out")


async def end_session(context: Context, *, user_id: UUID, session_id: UUID) -> bool:
    """Whether there was such a session of this account."""
    one = (Session.id == session_id) & (Session.user_id == user_id) & is_live(context.now)
    return bool(await revoke(context, one, reason="signed_out"))


async def end_other_sessions(context: Context, *, user_id: UUID, current: UUID) -> None:
    await revoke(context, (Session.user_id == user_id) & (Session.id != current), reason="signed_out")


async def sign_out_by_refresh_token(context: Context, token: RefreshToken, *, reason: RevokedReason) -> None:
    """The same for whoever holds a refresh token of the session, of whichever generation."""
    row = await _row(context, token.session_id)
    if row is not None and context.keys.is_genuine(token, nonce=row.refresh_nonce):
        await revoke(context, Session.id == row.id, reason=reason)


async def revoke(context: Context, which: ColumnElement[bool], *, reason: RevokedReason) -> list[UUID]:
    """End sessions: their refresh tokens at once, their access tokens with the commit, elsewhere within 2 s."""
    ended = (
        update(Session)
        .where(which, Session.revoked_at.is_(None))
        .values(revoked_at=context.now, revoked_reason=reason)
        .returning(Session.id, Session.user_id)
    )
    rows = (await context.session.execute(ended)).all()
    for row in rows:
        await record(context, "session.revoked", user_id=row.user_id, session_id=row.id, detail=reason)
    ids = [row.id for row in rows]
    after_commit(context.session, lambda: context.revoked.add(ids, context.now))
    return ids


async def update_user(context: Context, *, user_id: UUID, values: Mapping[str, Any]) -> None:
    await context.session.execute(update(User).where(User.id == user_id).values(**values))
    await record(context, "user.updated", user_id=user_id, detail=", ".join(values))


async def delete_user(context: Context, *, user_id: UUID, email_key: str) -> None:
    """Empty the account, and free its address. The row stays, for what refers to it."""
    gone = f"deleted:{user_id}"  # can't be an address
    await context.session.execute(
        update(User)
        .where(User.id == user_id)
        .values(email=gone, email_key=gone, display_name=None, role="fan", deleted_at=context.now)
    )
    await context.session.execute(
        update(SignInFlow).where(_open_of(context, email_key)).values(consumed_at=context.now)
    )
    await revoke(context, Session.user_id == user_id, reason="account_deleted")
    await record(context, "user.deleted", user_id=user_id)


async def record(
    context: Context, event: EventName, *, user_id: UUID, session_id: UUID | None = None, detail: str | None = None
) -> None:
    """Add to what an account's owner and its operators can read."""
    await context.session.execute(
        insert(AuthEvent).values(
            id=uuid7(),
            event=event,
            user_id=user_id,
            session_id=session_id,
            detail=detail,
            ip=context.client.ip,
            user_agent=context.client.user_agent,
            created_at=context.now,
        )
    )


def is_live(now: datetime) -> ColumnElement[bool]:
    """A session that hasn't ended. idle_expires_at is never after absolute_expires_at; a constraint sees to it."""
    return Session.revoked_at.is_(None) & (Session.idle_expires_at > now)


def _is_open(now: datetime) -> ColumnElement[bool]:
    return SignInFlow.consumed_at.is_(None) & (SignInFlow.expires_at > now)


def _is_of_flow(keys: Keys, flow_secret: str | None) -> ColumnElement[bool]:
    """Nothing is, without a secret."""
    return SignInFlow.flow_hash.in_(keys.digests("flow secret", flow_secret) if flow_secret else [])


async def _consume(context: Context, which: ColumnElement[bool]) -> Row[Any] | None:
    """Of all who try to use a flow, one gets its row."""
    used = (
        update(SignInFlow)
        .where(which, _is_open(context.now))
        .values(consumed_at=context.now)
        .returning(*SignInFlow.__table__.columns)
    )
    return (await context.session.execute(used)).one_or_none()


async def _why_link_is_refused(context: Context, which: ColumnElement[bool]) -> Problem:
    row = (await context.session.execute(select(*SignInFlow.__table__.columns).where(which))).one_or_none()
    if row is None:
        return problems.link_invalid()
    if row.consumed_at is not None:
        return problems.link_used()
    if row.expires_at <= context.now:
        return problems.link_expired()
    return problems.confirmation_required(email=row.email, requested_at=row.created_at, user_agent=row.user_agent)


async def _why_code_is_refused(context: Context, which: ColumnElement[bool]) -> Problem:
    row = (await context.session.execute(select(*SignInFlow.__table__.columns).where(which))).one_or_none()
    if row is None or (row.consumed_at is None and row.expires_at > context.now):
        return problems.code_invalid()
    return problems.link_used() if row.consumed_at is not None else problems.link_expired()


async def _sign_in(context: Context, flow: Row[Any], *, amr: list[str], replaces: RefreshToken | None) -> SignIn:
    """The account of a flow that was just consumed, made if there is none, and a new session of it."""
    user = await _user_of(context, flow)
    await context.session.execute(
        update(SignInFlow).where(_open_of(context, flow.email_key)).values(consumed_at=context.now)
    )
    if user.disabled_at is not None:
        await record(context, "sign_in.refused", user_id=user.id)
        await context.session.commit()
        raise problems.account_disabled()
    if user.created:
        await record(context, "user.created", user_id=user.id)
    if replaces is not None:
        await sign_out_by_refresh_token(context, replaces, reason="replaced")
    row = await _new_session(context, user_id=user.id, amr=amr)
    return SignIn(grant=_grant(context, row), user=user, flow=flow)


async def _user_of(context: Context, flow: Row[Any]) -> Row[Any]:
    """Of several at once, one makes it. The row stays locked, so that sign-ins of one account come one by one."""
    new = upsert(User).values(id=uuid7(), email=flow.email, email_key=flow.email_key, created_at=context.now)
    either = new.on_conflict_do_update(index_elements=["email_key"], set_={"email_key": new.excluded.email_key})
    created = literal_column("(xmax = 0)", Boolean).label(
        "created"
    )  # an update would have left the transaction's id there
    return (await context.session.execute(either.returning(*User.__table__.columns, created))).one()


def _open_of(context: Context, email_key: str) -> ColumnElement[bool]:
    """All open flows of an address, but for those that others are using now: to wait for them would be a deadlock."""
    these = select(SignInFlow.id).where(SignInFlow.email_key == email_key, _is_open(context.now))
    return SignInFlow.id.in_(these.with_for_update(skip_locked=True))


async def _new_session(context: Context, *, user_id: UUID, amr: list[str]) -> Row[Any]:
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


async def _row(context: Context, session_id: UUID) -> Row[Any] | None:
    found = select(*Session.__table__.columns).where(Session.id == session_id)
    return (await context.session.execute(found)).one_or_none()


def _grant(context: Context, row: Row[Any]) -> Grant:
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
