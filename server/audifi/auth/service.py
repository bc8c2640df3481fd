"""What is decided and written when someone signs in, and to their account.

Plain functions on a transaction that the caller commits; what must outlive an error is committed before it is raised.
Rows are read with Core: objects of the session would be stale after another's commit.
"""

import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Boolean, ColumnElement, Row, bindparam, insert, literal_column, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from uuid6 import uuid7

from audifi.auth import problems, sessions
from audifi.auth.addresses import Address
from audifi.auth.context import Context, record
from audifi.auth.jobs import CODE_EXHAUSTED, SIGN_IN_MAIL, SignInMail
from audifi.auth.models import Delivery, Session, SignInFlow, User
from audifi.auth.sessions import Grant
from audifi.auth.tokens import Keys, RefreshToken, new_secret
from audifi.core.http.problems import Problem
from audifi.core.jobs.queue import Jobs

FLOW_LIFETIME = timedelta(minutes=10)
RESEND_AFTER = timedelta(seconds=60)
CODE_ATTEMPTS = 5
# Made once, and of the table: an ORM's update costs as much as all else that a request does.
USERS = User.__table__
CHANGE_USER = (
    update(USERS)
    .where(USERS.c.id == bindparam("of_user"), USERS.c.deleted_at.is_(None), USERS.c.disabled_at.is_(None))
    .returning(USERS.c.id)
)


@dataclass(frozen=True, kw_only=True)
class Flow:
    id: UUID
    secret: str


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
    flow = Flow(id=uuid7(), secret=new_secret())
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
            expires_at=context.now + FLOW_LIFETIME,
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


async def verify_code(  # noqa: PLR0913
    context: Context, jobs: Jobs, *, flow_id: UUID, code: str, flow_secret: str | None, replaces: RefreshToken | None
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
        .returning(SignInFlow.code_hash, SignInFlow.code_attempts)
    )
    row = (await context.session.execute(counted)).one_or_none()
    await context.session.commit()
    if row is None:
        raise await _why_code_is_refused(context, flow)
    digests = context.keys.digests("code", flow_id.bytes, code)
    matches = sum(hmac.compare_digest(row.code_hash, digest) for digest in digests)  # with each, whatever it finds
    if not matches:
        if row.code_attempts == CODE_ATTEMPTS:
            await jobs.enqueue(context.session, CODE_EXHAUSTED, flow_id.bytes)
            await context.session.commit()
        raise problems.code_invalid()
    consumed = await _consume(context, flow)
    if consumed is None:  # by another request, since
        raise await _why_code_is_refused(context, flow)
    return await _sign_in(context, consumed, amr=["email", "otp"], replaces=replaces)


async def update_user(context: Context, *, user_id: UUID, values: Mapping[str, Any]) -> None:
    """
    Raises:
        Problem: 401 if the account was deleted or suspended since its row was checked.
    """
    await _change(context, user_id, **values)
    await record(context, "user.updated", user_id=user_id, detail=", ".join(values))


async def delete_user(context: Context, *, user_id: UUID, email_key: str) -> None:
    """Empty the account, and free its address. The row stays, for what refers to it.

    Raises:
        Problem: 401 if it was deleted or suspended since its row was checked.
    """
    gone = f"deleted:{user_id}"  # can't be an address
    await _change(context, user_id, email=gone, email_key=gone, display_name=None, role="fan", deleted_at=context.now)
    await context.session.execute(
        update(SignInFlow).where(_open_of(context, email_key)).values(consumed_at=context.now)
    )
    await sessions.revoke(context, Session.user_id == user_id, reason="account_deleted")
    await record(context, "user.deleted", user_id=user_id)


async def _change(context: Context, user_id: UUID, **values: Any) -> None:
    """What was read of the account a moment ago may be over: another request may have deleted it."""
    changed = await context.session.execute(CHANGE_USER, {"of_user": user_id, **values})
    if changed.one_or_none() is None:
        raise problems.access_token_invalid()


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
        await sessions.sign_out_by_refresh_token(context, replaces, reason="replaced")
    row = await sessions.begin(context, user_id=user.id, amr=amr)
    return SignIn(grant=sessions.grant(context, row), user=user, flow=flow)


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
