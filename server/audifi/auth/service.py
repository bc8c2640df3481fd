"""Service functions of sign-in and accounts.

State that must survive an error is committed before the error is raised.
"""

import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    CTE,
    Boolean,
    ColumnElement,
    LargeBinary,
    Uuid,
    any_,
    bindparam,
    func,
    insert,
    literal,
    literal_column,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import insert as upsert
from uuid6 import uuid7

from audifi.auth import problems, sessions
from audifi.auth.addresses import Address
from audifi.auth.context import AUTH_EVENTS, EVENT_COLUMNS, AuthContext, record_audit_event
from audifi.auth.jobs import CODE_EXHAUSTED, SIGN_IN_EMAIL, SignInEmail
from audifi.auth.models import Delivery, Role, SignInFlow, User
from audifi.auth.sessions import NOW, SESSION_COLUMNS, SESSIONS, EndedSession, SessionRow, TokenSet, is_live, token_set
from audifi.auth.tokens import RefreshToken, new_secret
from audifi.core.db.database import Transaction
from audifi.core.db.statements import Statement, parameters
from audifi.core.feature import DeletionGuard
from audifi.core.http.problems import Problem
from audifi.core.jobs.queue import JobQueue

FLOW_LIFETIME = timedelta(minutes=10)
RESEND_AFTER = timedelta(seconds=60)
CODE_ATTEMPTS = 5

USERS = User.__table__
FLOWS = SignInFlow.__table__
HASHES = ARRAY(LargeBinary)


@dataclass(frozen=True, kw_only=True)
class Flow:
    """A started sign-in, with the secret that its client continues it with."""

    id: UUID
    secret: str


@dataclass(frozen=True, slots=True)
class FlowRow:
    """A flow that couldn't be consumed."""

    email: str
    user_agent: str | None
    created_at: datetime
    expires_at: datetime
    consumed_at: datetime | None


@dataclass(frozen=True, slots=True)
class Attempt:
    code_hash: bytes
    code_attempts: int


@dataclass(frozen=True, slots=True)
class UserRow:
    """An account, as its owner sees it."""

    id: UUID
    email: str
    display_name: str | None
    role: Role
    created_at: datetime


@dataclass(frozen=True, slots=True)
class SignInRow(UserRow):
    """The account of a flow that was just consumed."""

    email_key: str
    disabled_at: datetime | None
    created: bool
    """Whether it is new."""
    delivery: Delivery
    redirect_to: str | None


@dataclass(frozen=True, slots=True)
class NewSession(SessionRow):
    """A new session, and the ids of the sessions that were ended to make room."""

    ended_ids: list[UUID] | None


@dataclass(frozen=True, kw_only=True)
class SignIn:
    tokens: TokenSet
    user: SignInRow


IS_OPEN = FLOWS.c.consumed_at.is_(None) & (FLOWS.c.expires_at > NOW)
BY_TOKEN = FLOWS.c.token_hash == any_(bindparam("token_hashes", type_=HASHES))
HAS_SECRET = FLOWS.c.flow_hash == any_(bindparam("flow_hashes", type_=HASHES))
"""An empty list of hashes matches no flow."""
BY_ID = (FLOWS.c.id == bindparam("flow_id")) & HAS_SECRET
BY_TOKEN_AND_SECRET = BY_TOKEN & (bindparam("confirm", type_=Boolean) | HAS_SECRET)


def _get_or_create_user(condition: ColumnElement[bool]) -> Statement:
    """Return the statement that consumes an open flow and returns its account, creating it if necessary.

    Only one of several concurrent requests consumes the flow, and only one creates the account. The account's row stays
    locked, which serializes the sign-ins of one account.
    """
    flow = update(FLOWS).where(condition, IS_OPEN).values(consumed_at=NOW).returning(*FLOWS.c).cte("flow")
    new = upsert(USERS).from_select(
        ["id", "email", "email_key", "created_at"],
        select(bindparam("new_user_id", type_=Uuid), flow.c.email, flow.c.email_key, NOW),
    )
    # xmax is 0 for an inserted row; an update sets it to the transaction's id.
    created = literal_column("(xmax = 0)", Boolean).label("created")
    user = (
        new.on_conflict_do_update(index_elements=["email_key"], set_={"email_key": new.excluded.email_key})
        .returning(*USERS.c, created)
        .cte("account")
    )
    is_created = _record_statement("user.created", user, user.c.id).where(user.c.created)
    columns = [user.c[name] for name in (*UserRow.__dataclass_fields__, "email_key", "disabled_at", "created")]
    return Statement(
        select(*columns, flow.c.delivery, flow.c.redirect_to)
        .select_from(user.join(flow, flow.c.email_key == user.c.email_key))
        .add_cte(insert(AUTH_EVENTS).from_select([*EVENT_COLUMNS], is_created).cte("recorded"))
    )


def _record_statement(event: str, rows: CTE, user_id: Any, session_id: Any = None, detail: Any = None) -> Any:
    """Return the select that yields an audit event for each row."""
    return select(
        bindparam("event_id", type_=Uuid),
        literal(event),
        user_id,
        literal_column("NULL::uuid") if session_id is None else session_id,
        literal_column("NULL::text") if detail is None else detail,
        bindparam("ip", type_=AUTH_EVENTS.c.ip.type),
        bindparam("user_agent", type_=AUTH_EVENTS.c.user_agent.type),
        NOW,
    ).select_from(rows)


def _begin_session() -> Statement:
    """Return the statement that begins a session, consumes other flows of its address, and ends the oldest sessions.

    Flows locked by other transactions are skipped: waiting for them could deadlock.
    """
    session = (
        insert(SESSIONS)
        .values(
            parameters("user_id", "refresh_nonce", "amr", "idle_expires_at", "absolute_expires_at", "ip", "user_agent")
            | dict.fromkeys(("rotated_at", "auth_time", "created_at", "last_used_at"), NOW)
            | {"id": bindparam("session_id")}
        )
        .returning(*SESSION_COLUMNS)
        .cte("session")
    )
    # This statement doesn't see the session that it inserts.
    oldest = (
        select(SESSIONS.c.id)
        .where(SESSIONS.c.user_id == bindparam("user_id"), is_live())
        .order_by(SESSIONS.c.id.desc())
        .offset(sessions.MAX_SESSIONS - 1)
    )
    ended = (
        update(SESSIONS)
        .where(SESSIONS.c.id.in_(oldest), is_live())
        .values(revoked_at=NOW, revoked_reason="too_many")
        .returning(SESSIONS.c.id)
        .cte("ended")
    )
    recorded = _record_statement("session.created", session, session.c.user_id, session.c.id)
    ended_ids = select(func.array_agg(ended.c.id, type_=ARRAY(Uuid))).scalar_subquery().label("ended_ids")
    return Statement(
        select(session, ended_ids)
        .add_cte(insert(AUTH_EVENTS).from_select([*EVENT_COLUMNS], recorded).cte("recorded"))
        .add_cte(_consume_open_flows().cte("other_flows"))
    )


def _consume_open_flows() -> Any:
    open_flows = select(FLOWS.c.id).where(FLOWS.c.email_key == bindparam("email_key"), IS_OPEN)
    return (
        update(FLOWS)
        .where(FLOWS.c.id.in_(open_flows.with_for_update(skip_locked=True)))
        .values(consumed_at=NOW)
        .returning(FLOWS.c.id)
    )


def _change_user() -> Statement:
    """Return the statement that renames an active account and records the change."""
    changed = (
        update(USERS)
        .where(USERS.c.id == bindparam("user_id"), USERS.c.deleted_at.is_(None), USERS.c.disabled_at.is_(None))
        .values(display_name=bindparam("new_display_name"))
        .returning(*[USERS.c[name] for name in UserRow.__dataclass_fields__])
        .cte("changed")
    )
    recorded = _record_statement("user.updated", changed, changed.c.id, detail=literal("display_name"))
    return Statement(
        select(changed).add_cte(insert(AUTH_EVENTS).from_select([*EVENT_COLUMNS], recorded).cte("recorded"))
    )


ADD_FLOW = Statement(
    insert(FLOWS).values(
        parameters(
            "id",
            "email",
            "email_key",
            "token_hash",
            "code_hash",
            "flow_hash",
            "delivery",
            "redirect_to",
            "ip",
            "user_agent",
            "created_at",
            "expires_at",
        )
    )
)
CONSUME_BY_TOKEN = _get_or_create_user(BY_TOKEN_AND_SECRET)
CONSUME_BY_ID = _get_or_create_user(BY_ID)
FLOW_COLUMNS = [FLOWS.c[name] for name in FlowRow.__dataclass_fields__]
FIND_BY_TOKEN = Statement(select(*FLOW_COLUMNS).where(BY_TOKEN))
FIND_BY_ID = Statement(select(*FLOW_COLUMNS).where(BY_ID))
COUNT_ATTEMPT = Statement(
    update(FLOWS)
    .where(BY_ID, IS_OPEN, FLOWS.c.code_attempts < CODE_ATTEMPTS)
    .values(code_attempts=FLOWS.c.code_attempts + 1)
    .returning(FLOWS.c.code_hash, FLOWS.c.code_attempts)
)
CONSUME_OPEN_FLOWS = Statement(_consume_open_flows())
BEGIN_SESSION = _begin_session()
CHANGE_USER = _change_user()
LOCK_USER = Statement(
    select(USERS.c.id)
    .where(USERS.c.id == bindparam("user_id"), USERS.c.deleted_at.is_(None))
    .with_for_update(key_share=True)
)
EMPTY_USER = Statement(
    update(USERS)
    .where(USERS.c.id == bindparam("user_id"), USERS.c.deleted_at.is_(None), USERS.c.disabled_at.is_(None))
    .values(
        email=bindparam("placeholder"),
        email_key=bindparam("placeholder"),
        display_name=None,
        role="fan",
        deleted_at=NOW,
    )
)


async def request_link(
    context: AuthContext, jobs: JobQueue, *, address: Address, redirect_to: str | None, delivery: Delivery
) -> Flow:
    """Create a flow and queue its e-mail, without a look-up: the duration must not reveal whether an account exists."""
    seed = secrets.token_bytes(32)
    link, *_ = context.keys.links(seed, email=address.email)
    flow = Flow(id=uuid7(), secret=new_secret())
    async with context.database.transaction() as tx:
        await tx.execute(
            ADD_FLOW,
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
        await jobs.enqueue(tx, SIGN_IN_EMAIL, SignInEmail(flow_id=flow.id, seed=seed).to_bytes())
    return flow


async def verify_link(
    context: AuthContext, *, token: str, flow_secret: str | None, confirm: bool, replaces: RefreshToken | None
) -> SignIn:
    """Sign in with a link, in the browser that requested it, or in another if the person confirms.

    Args:
        context: the request's.
        token: from the link.
        flow_secret: from the browser that requested the link.
        confirm: whether the person confirmed.
        replaces: the browser's current session, which ends (OWASP ASVS 5, 7.2.4).

    Raises:
        Problem: 401, 403, or 409, which leaves the link valid.
    """
    hashes = {
        "token_hashes": context.keys.digests("link token", token),
        "flow_hashes": context.keys.digests("flow secret", flow_secret) if flow_secret else [],
    }
    async with context.database.transaction() as tx:
        user = await _consume(tx, context, CONSUME_BY_TOKEN, confirm=confirm, **hashes)
        if user is not None:
            return await _sign_in(tx, context, user, amr=["email"], replaces=replaces)
    flow = await context.database.fetch_one(FIND_BY_TOKEN, FlowRow, token_hashes=hashes["token_hashes"])
    raise _why_link_is_refused(context, flow)


async def verify_code(
    context: AuthContext,
    jobs: JobQueue,
    *,
    flow_id: UUID,
    code: str,
    flow_secret: str,
    replaces: RefreshToken | None,
) -> SignIn:
    """Sign in with a code, in the browser that requested it.

    The attempt is committed before the code is compared, so concurrent attempts can't exceed the limit.

    Raises:
        Problem: 401 or 403.
    """
    flow = {"flow_id": flow_id, "flow_hashes": context.keys.digests("flow secret", flow_secret)}
    attempt = await context.database.write_one(COUNT_ATTEMPT, Attempt, now=context.now, **flow)
    if attempt is None:
        raise await _why_code_is_refused(context, flow)
    digests = context.keys.digests("code", flow_id.bytes, code)
    matches = sum(hmac.compare_digest(attempt.code_hash, digest) for digest in digests)  # no early exit
    if not matches:
        if attempt.code_attempts == CODE_ATTEMPTS:
            async with context.database.transaction() as tx:
                await jobs.enqueue(tx, CODE_EXHAUSTED, flow_id.bytes)
        raise problems.code_invalid()
    async with context.database.transaction() as tx:
        user = await _consume(tx, context, CONSUME_BY_ID, **flow)
        if user is not None:
            return await _sign_in(tx, context, user, amr=["email", "otp"], replaces=replaces)
    raise await _why_code_is_refused(context, flow)  # another request has consumed it meanwhile


async def update_user(context: AuthContext, *, user_id: UUID, display_name: str | None) -> UserRow:
    """Change an account's public name, and return the account.

    Raises:
        Problem: 401 if the account was deleted or suspended since its row was checked.
    """
    user = await context.database.write_one(
        CHANGE_USER, UserRow, user_id=user_id, new_display_name=display_name, event_id=uuid7(), **context.recorded
    )
    if user is None:
        raise problems.access_token_invalid()
    return user


async def lock_user(tx: Transaction, user_id: UUID) -> None:
    """Lock an account's row, so that what the transaction creates for it can't be missed by the account's deletion.

    Raises:
        Problem: 401 if it was deleted since its row was checked.
    """
    if await tx.fetch_value(LOCK_USER, user_id=user_id) is None:
        raise problems.access_token_invalid()


async def delete_user(
    context: AuthContext, *, user_id: UUID, email_key: str, guards: Sequence[DeletionGuard] = ()
) -> None:
    """Empty the account, and free its address. The row stays, for foreign keys.

    Args:
        context: the request's.
        user_id: the account.
        email_key: its address.
        guards: of the features; each deletes the account's rows or refuses the deletion.

    Raises:
        Problem: 401 if it was deleted or suspended since its row was checked, and what a guard raises.
    """
    async with context.database.transaction() as tx:
        # `deleted:<id>` is never a valid address.
        if not await tx.execute(EMPTY_USER, user_id=user_id, placeholder=f"deleted:{user_id}", now=context.now):
            raise problems.access_token_invalid()
        for guard in guards:
            await guard(tx, user_id)
        await tx.execute(CONSUME_OPEN_FLOWS, email_key=email_key, now=context.now)
        await sessions.revoke(tx, context, sessions.REVOKE_ALL, reason="account_deleted", owner_id=user_id)
        await record_audit_event(tx, context, "user.deleted", user_id=user_id)


async def _consume(tx: Transaction, context: AuthContext, statement: Statement, **values: Any) -> SignInRow | None:
    """Consume the flow and return its account; None if another request was first, or the conditions don't hold."""
    return await tx.fetch_one(statement, SignInRow, new_user_id=uuid7(), event_id=uuid7(), **values, **context.recorded)


async def _sign_in(
    tx: Transaction, context: AuthContext, user: SignInRow, *, amr: list[str], replaces: RefreshToken | None
) -> SignIn:
    """Begin a session of the account of a flow that was just consumed."""
    if user.disabled_at is not None:
        await tx.execute(CONSUME_OPEN_FLOWS, email_key=user.email_key, now=context.now)
        await record_audit_event(tx, context, "sign_in.refused", user_id=user.id)
        await tx.commit()
        raise problems.account_disabled()
    if replaces is not None:
        await sessions.sign_out_by_refresh_token(tx, context, replaces, reason="replaced")
    session = await tx.fetch_row(
        BEGIN_SESSION,
        NewSession,
        session_id=uuid7(),
        user_id=user.id,
        email_key=user.email_key,
        refresh_nonce=secrets.token_bytes(32),
        amr=amr,
        idle_expires_at=context.now + sessions.IDLE_LIFETIME,
        absolute_expires_at=context.now + sessions.ABSOLUTE_LIFETIME,
        event_id=uuid7(),
        **context.recorded,
    )
    ended = [EndedSession(id=ended_id, user_id=user.id) for ended_id in session.ended_ids or []]
    await sessions.record_ended(tx, context, ended, reason="too_many")
    return SignIn(tokens=token_set(context, session), user=user)


def _why_link_is_refused(context: AuthContext, flow: FlowRow | None) -> Problem:
    if flow is None:
        return problems.link_invalid()
    if flow.consumed_at is not None:
        return problems.link_used()
    if flow.expires_at <= context.now:
        return problems.link_expired()
    return problems.confirmation_required(email=flow.email, requested_at=flow.created_at, user_agent=flow.user_agent)


async def _why_code_is_refused(context: AuthContext, values: dict[str, Any]) -> Problem:
    flow = await context.database.fetch_one(FIND_BY_ID, FlowRow, **values)
    if flow is None or (flow.consumed_at is None and flow.expires_at > context.now):
        return problems.code_invalid()
    return problems.link_used() if flow.consumed_at is not None else problems.link_expired()
