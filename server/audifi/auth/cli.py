"""`python -m audifi users …`: roles and suspension are an operator's, and each change is recorded with who made it."""

import getpass
import os
from typing import Annotated, Any
from uuid import UUID

import typer
from sqlalchemy import ColumnElement, Row, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection
from uuid6 import uuid7

from audifi.auth import addresses
from audifi.auth.models import AuthEvent, EventName, RevokedReason, Role, Session, User
from audifi.auth.sessions import is_live
from audifi.auth.tokens import LEEWAY
from audifi.core.clock import utc_now
from audifi.core.console import fail, run, show

users = typer.Typer(
    no_args_is_help=True, help="Accounts: their roles, whether they may sign in, where they are signed in."
)

Who = Annotated[str, typer.Argument(metavar="EMAIL|ID", help="The account's e-mail address, or its id.")]


def _of_this_console() -> str:
    try:
        user = getpass.getuser()
    except OSError:  # an image's, that has a number and no name
        user = f"uid {os.getuid()}"
    return os.environ.get("AUDIFI_OPERATOR") or f"{user} at a console"


def _written(given: str) -> str:
    if not given.strip():
        raise typer.BadParameter("must not be empty")
    return given.strip()


Reason = Annotated[str, typer.Option(help="Why; kept in the account's record, for operators alone.", callback=_written)]
By = Annotated[
    str,
    typer.Option(
        help="Who you are; kept in the account's record, for operators alone.",
        default_factory=_of_this_console,
        show_default="AUDIFI_OPERATOR, else the user of the system",
        callback=_written,
    ),
]

SESSIONS_A_TRANSACTION = 5000
COLUMNS = ["id", "email", "name", "role", "created at", "suspended at"]


@users.command("list")
def list_users(
    search: Annotated[str, typer.Option(help="Part of an address.")] = "",
    role: Annotated[Role | None, typer.Option()] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 50,
) -> None:
    """The newest accounts."""
    found = (
        select(User.id, User.email, User.display_name, User.role, User.created_at, User.disabled_at)
        .where(User.deleted_at.is_(None), User.email_key.contains(search.lower(), autoescape=True))
        .where(*([User.role == role] if role else []))
        .order_by(User.id.desc())
        .limit(limit)
    )

    async def work(connection: AsyncConnection) -> list[list[Any]]:
        return [list(row) for row in await connection.execute(found)]

    show(COLUMNS, run(work))


@users.command("show")
def show_user(who: Who) -> None:
    """An account, where it is signed in, and what happened to it; by its id also one that was deleted."""

    async def work(connection: AsyncConnection) -> tuple[Row[Any], list[list[Any]], list[list[Any]]]:
        user = await _find(connection, who, deleted_too=True)
        sessions = (
            select(Session.id, Session.created_at, Session.last_used_at, Session.ip, Session.user_agent)
            .where(Session.user_id == user.id, is_live(utc_now()))
            .order_by(Session.id.desc())
        )
        events = (
            select(AuthEvent.created_at, AuthEvent.event, AuthEvent.actor, AuthEvent.detail, AuthEvent.ip)
            .where(AuthEvent.user_id == user.id)
            .order_by(AuthEvent.id.desc())
            .limit(50)
        )
        return (
            user,
            [list(row) for row in await connection.execute(sessions)],
            [list(row) for row in await connection.execute(events)],
        )

    user, sessions, events = run(work)
    columns = [user.id, user.email, user.display_name, user.role, user.created_at, user.disabled_at, user.deleted_at]
    show([*COLUMNS, "deleted at"], [columns])
    typer.echo("\nSigned in")
    show(["session", "since", "last used at", "address", "with"], sessions)
    typer.echo("\nThe last 50 events")
    show(["at", "event", "by", "detail", "address"], events)


@users.command("set-role")
def set_role(who: Who, role: Role, by: By) -> None:
    """Give an account another role. It counts from the next request on."""

    async def work(connection: AsyncConnection) -> Row[Any]:
        user = await _find(connection, who)
        if user.role != role:
            await connection.execute(update(User).where(User.id == user.id).values(role=role))
            await _record(connection, "user.role_changed", (user.id, None), by=by, detail=f"{user.role} to {role}")
        return user

    user = run(work)
    typer.echo(f"{user.email} is {role} already." if user.role == role else f"{user.email}: {user.role}, now {role}.")


@users.command("suspend")
def suspend(who: Who, reason: Reason, by: By) -> None:
    """Keep an account from signing in, and end its sessions: access tokens, too, within 2 seconds."""

    async def work(connection: AsyncConnection) -> tuple[Row[Any], int]:
        user = await _find(connection, who)
        if user.disabled_at is None:
            # First, because it waits for a sign-in that is under way, whose session the next statement must see.
            await connection.execute(update(User).where(User.id == user.id).values(disabled_at=utc_now()))
            await _record(connection, "user.suspended", (user.id, None), by=by, detail=_reason("suspended", reason))
        return user, await _end_sessions(connection, Session.user_id == user.id, "suspended", by)

    user, ended = run(work)
    typer.echo(f"{user.email} is suspended{' already' if user.disabled_at else ''}; {_ended(ended)}.")


@users.command("restore")
def restore(who: Who, by: By) -> None:
    """Let a suspended account sign in again."""

    async def work(connection: AsyncConnection) -> Row[Any]:
        user = await _find(connection, who)
        if user.disabled_at is not None:
            await connection.execute(update(User).where(User.id == user.id).values(disabled_at=None))
            await _record(connection, "user.restored", (user.id, None), by=by, detail=None)
        return user

    user = run(work)
    typer.echo(f"{user.email} may sign in again." if user.disabled_at else f"{user.email} isn't suspended.")


@users.command("sign-out")
def sign_out(who: Who, by: By) -> None:
    """End all sessions of an account, say after its mailbox was broken into."""

    async def work(connection: AsyncConnection) -> tuple[Row[Any], int]:
        user = await _find(connection, who)
        return user, await _end_sessions(connection, Session.user_id == user.id, "signed_out_by_operator", by)

    user, ended = run(work)
    typer.echo(f"{user.email}: {_ended(ended)}.")


@users.command("sign-out-everyone")
def sign_out_everyone(reason: Reason, by: By) -> None:
    """End all sessions of all accounts, say after a secret got out."""
    until = utc_now() + LEEWAY  # who signs in later does so under what is right by now, and there may be no end of them

    async def work(connection: AsyncConnection) -> int:
        some = Session.id.in_(
            select(Session.id).where(is_live(utc_now()), Session.created_at <= until).limit(SESSIONS_A_TRANSACTION)
        )
        return await _end_sessions(connection, some, "signed_out_by_operator", by, reason)

    # Machines look a minute back for what was revoked: a transaction has to be over by then, or they never learn of it.
    ended = 0
    while some := run(work):
        ended += some
        typer.echo(f"{ended} sessions so far …", err=True)
    typer.echo(f"{_ended(ended)}.")


async def _find(connection: AsyncConnection, who: str, *, deleted_too: bool = False) -> Row[Any]:
    """The account, locked until the command has ended; exits with a sentence if there is none."""
    found = select(*User.__table__.columns).where(_is(who)).with_for_update()
    if not deleted_too:
        found = found.where(User.deleted_at.is_(None))
    user = (await connection.execute(found)).one_or_none()
    if user is None:
        fail(f"There is no account {who}.")
    return user


def _is(who: str) -> ColumnElement[bool]:
    try:
        return User.id == UUID(who)
    except ValueError:
        pass
    try:
        return User.email_key == addresses.parse(who).key
    except addresses.InvalidAddressError:
        fail(f"{who} is neither an e-mail address nor an id.")


async def _end_sessions(
    connection: AsyncConnection, which: ColumnElement[bool], reason: RevokedReason, by: str, why: str | None = None
) -> int:
    now = utc_now()
    ended = (
        update(Session)
        .where(which, is_live(now))
        .values(revoked_at=now, revoked_reason=reason)
        .returning(Session.id, Session.user_id)
    )
    sessions = (await connection.execute(ended)).all()
    detail = _reason(reason, why) if why else reason
    await _record(connection, "session.revoked", *((each.user_id, each.id) for each in sessions), by=by, detail=detail)
    return len(sessions)


def _reason(code: str, why: str) -> str:
    """A record's detail, of which the account's owner sees the code alone (`queries.events`)."""
    return f"{code}: {why}"


def _ended(sessions: int) -> str:
    return "1 session was ended" if sessions == 1 else f"{sessions} sessions were ended"


async def _record(
    connection: AsyncConnection, event: EventName, *of: tuple[UUID, UUID | None], by: str, detail: str | None
) -> None:
    """Of accounts, each with the session that it is about."""
    told = {"event": event, "actor": by[:100], "detail": detail and detail[:500], "created_at": utc_now()}
    events = [{"id": uuid7(), "user_id": user_id, "session_id": session_id, **told} for user_id, session_id in of]
    if events:
        await connection.execute(insert(AuthEvent), events)
