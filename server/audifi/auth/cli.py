"""`python -m audifi users …`: operators' commands. Each change is recorded with the operator's name."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from datetime import datetime
from ipaddress import IPv4Address, IPv6Address
from typing import Annotated, Any
from uuid import UUID

import typer
from sqlalchemy import bindparam, func, insert, select, update
from uuid6 import uuid7

from audifi.auth import addresses
from audifi.auth.context import AUTH_EVENTS
from audifi.auth.models import EventName, RevokedReason, Role, User
from audifi.auth.sessions import NOW, REVOKE_ALL, SESSIONS, EndedSession, is_live
from audifi.auth.tokens import LEEWAY
from audifi.core.clock import utc_now
from audifi.core.console import By, Reason, fail, run, show
from audifi.core.db.database import Transaction
from audifi.core.db.statements import Statement, parameters

users = typer.Typer(
    no_args_is_help=True, help="Accounts: their roles, whether they may sign in, where they are signed in."
)

Who = Annotated[str, typer.Argument(metavar="EMAIL|ID", help="The account's e-mail address or id.")]


MAX_SESSIONS = 5000
"""Sessions per transaction."""
COLUMNS = ["id", "email", "name", "role", "created at", "suspended at"]
USERS = User.__table__


@dataclass(frozen=True, slots=True)
class UserRow:
    id: UUID
    email: str
    display_name: str | None
    role: Role
    created_at: datetime
    disabled_at: datetime | None
    deleted_at: datetime | None


@dataclass(frozen=True, slots=True)
class SessionRow:
    id: UUID
    created_at: datetime
    last_used_at: datetime
    ip: IPv4Address | IPv6Address | None
    user_agent: str | None


@dataclass(frozen=True, slots=True)
class EventRow:
    created_at: datetime
    event: EventName
    actor: str | None
    detail: str | None
    ip: IPv4Address | IPv6Address | None


def _columns(table: Any, row_type: Any) -> list[Any]:
    return [table.c[name] for name in row_type.__dataclass_fields__]


LIST = Statement(
    select(*_columns(USERS, UserRow))
    .where(USERS.c.deleted_at.is_(None), func.strpos(USERS.c.email_key, bindparam("search")) > 0)
    .order_by(USERS.c.id.desc())
    .limit(bindparam("limit")),
    optional={"role": USERS.c.role == bindparam("role")},
)
FIND = Statement(
    select(*_columns(USERS, UserRow)).with_for_update(),
    optional={"user_id": USERS.c.id == bindparam("user_id"), "email_key": USERS.c.email_key == bindparam("email_key")},
)
LIVE_SESSIONS = Statement(
    select(*_columns(SESSIONS, SessionRow))
    .where(SESSIONS.c.user_id == bindparam("user_id"), is_live())
    .order_by(SESSIONS.c.id.desc())
)
LAST_EVENTS = Statement(
    select(*_columns(AUTH_EVENTS, EventRow))
    .where(AUTH_EVENTS.c.user_id == bindparam("user_id"))
    .order_by(AUTH_EVENTS.c.id.desc())
    .limit(50)
)
SET_ROLE = Statement(update(USERS).where(USERS.c.id == bindparam("user_id")).values(role=bindparam("new_role")))
SET_DISABLED = Statement(
    update(USERS).where(USERS.c.id == bindparam("user_id")).values(disabled_at=bindparam("new_disabled_at"))
)
REVOKE_SOME = Statement(
    update(SESSIONS)
    .where(
        SESSIONS.c.id.in_(
            select(SESSIONS.c.id)
            .where(is_live(), SESSIONS.c.created_at <= bindparam("until"))
            .limit(bindparam("max_sessions"))
        ),
        is_live(),
    )
    .values(revoked_at=NOW, revoked_reason=bindparam("reason"))
    .returning(SESSIONS.c.id, SESSIONS.c.user_id)
)
ADD_EVENT = Statement(
    insert(AUTH_EVENTS).values(parameters("id", "event", "user_id", "session_id", "actor", "detail", "created_at"))
)


@users.command("list")
def list_users(
    search: Annotated[str, typer.Option(help="Part of an address.")] = "",
    role: Annotated[Role | None, typer.Option()] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 50,
) -> None:
    """List the newest accounts."""

    async def work(tx: Transaction) -> list[UserRow]:
        return await tx.fetch_all(LIST, UserRow, search=search.lower(), role=role, limit=limit)

    show(COLUMNS, [row[: len(COLUMNS)] for row in _cells(run(work))])


@users.command("show")
def show_user(who: Who) -> None:
    """Show an account with its sessions and events. Deleted accounts are shown by id."""

    async def work(tx: Transaction) -> tuple[UserRow, list[SessionRow], list[EventRow]]:
        user = await _find(tx, who, deleted_too=True)
        sessions = await tx.fetch_all(LIVE_SESSIONS, SessionRow, user_id=user.id, now=utc_now())
        return user, sessions, await tx.fetch_all(LAST_EVENTS, EventRow, user_id=user.id)

    user, sessions, events = run(work)
    show([*COLUMNS, "deleted at"], _cells([user]))
    typer.echo("\nSigned in")
    show(["session", "since", "last used at", "address", "with"], _cells(sessions))
    typer.echo("\nThe last 50 events")
    show(["at", "event", "by", "detail", "address"], _cells(events))


@users.command("set-role")
def set_role(who: Who, role: Role, by: By) -> None:
    """Change an account's role, from the next request on."""

    async def work(tx: Transaction) -> UserRow:
        return await change_role(tx, who, role, by=by)

    user = run(work)
    typer.echo(f"{user.email} is {role} already." if user.role == role else f"{user.email}: {user.role}, now {role}.")


async def change_role(tx: Transaction, who: str, role: Role, *, by: str) -> UserRow:
    """Give an account a role, and record who did it; return the account as it was."""
    user = await _find(tx, who)
    if user.role != role:
        await tx.execute(SET_ROLE, user_id=user.id, new_role=role)
        await _record(tx, "user.role_changed", (user.id, None), by=by, detail=f"{user.role} to {role}")
    return user


@users.command("suspend")
def suspend(who: Who, reason: Reason, by: By) -> None:
    """Suspend an account and end its sessions. Access tokens are refused within 2 seconds."""

    async def work(tx: Transaction) -> tuple[UserRow, int]:
        user = await _find(tx, who)
        if user.disabled_at is None:
            # First: it waits for a concurrent sign-in, whose session the next statement must see.
            await tx.execute(SET_DISABLED, user_id=user.id, new_disabled_at=utc_now())
            await _record(tx, "user.suspended", (user.id, None), by=by, detail=_reason("suspended", reason))
        return user, await _end_sessions(tx, REVOKE_ALL, "suspended", by, owner_id=user.id)

    user, ended = run(work)
    typer.echo(f"{user.email} is suspended{' already' if user.disabled_at else ''}; {_ended(ended)}.")


@users.command("restore")
def restore(who: Who, by: By) -> None:
    """Let a suspended account sign in again."""

    async def work(tx: Transaction) -> UserRow:
        user = await _find(tx, who)
        if user.disabled_at is not None:
            await tx.execute(SET_DISABLED, user_id=user.id, new_disabled_at=None)
            await _record(tx, "user.restored", (user.id, None), by=by, detail=None)
        return user

    user = run(work)
    typer.echo(f"{user.email} may sign in again." if user.disabled_at else f"{user.email} isn't suspended.")


@users.command("sign-out")
def sign_out(who: Who, by: By) -> None:
    """End all sessions of an account, for example after its mailbox was compromised."""

    async def work(tx: Transaction) -> tuple[UserRow, int]:
        user = await _find(tx, who)
        return user, await _end_sessions(tx, REVOKE_ALL, "signed_out_by_operator", by, owner_id=user.id)

    user, ended = run(work)
    typer.echo(f"{user.email}: {_ended(ended)}.")


@users.command("sign-out-everyone")
def sign_out_everyone(reason: Reason, by: By) -> None:
    """End all sessions of all accounts, for example after a secret leaked."""
    until = utc_now() + LEEWAY  # later sign-ins are legitimate, and could keep this loop from ending

    async def work(tx: Transaction) -> int:
        return await _end_sessions(
            tx, REVOKE_SOME, "signed_out_by_operator", by, why=reason, until=until, max_sessions=MAX_SESSIONS
        )

    # Machines poll revocations of the last minute, so no transaction may take longer.
    ended = 0
    while some := run(work):
        ended += some
        typer.echo(f"{ended} sessions so far …", err=True)
    typer.echo(f"{_ended(ended)}.")


async def _find(tx: Transaction, who: str, *, deleted_too: bool = False) -> UserRow:
    """Return the account, and lock it for the transaction; exit with a message if there is none."""
    user = await tx.fetch_one(FIND, UserRow, **_key(who))
    if user is None or (user.deleted_at is not None and not deleted_too):
        fail(f"There is no account {who}.")
    return user


def _key(who: str) -> dict[str, Any]:
    try:
        return {"user_id": UUID(who)}
    except ValueError:
        pass
    try:
        return {"email_key": addresses.parse(who).key}
    except addresses.InvalidAddressError:
        fail(f"{who} is neither an e-mail address nor an id.")


def _cells(rows: Sequence[Any]) -> list[list[Any]]:
    return [list(astuple(row)) for row in rows]


async def _end_sessions(
    tx: Transaction, statement: Statement, reason: RevokedReason, by: str, *, why: str | None = None, **values: Any
) -> int:
    sessions = await tx.fetch_all(statement, EndedSession, now=utc_now(), reason=reason, **values)
    detail = _reason(reason, why) if why else reason
    await _record(tx, "session.revoked", *((each.user_id, each.id) for each in sessions), by=by, detail=detail)
    return len(sessions)


def _reason(code: str, why: str) -> str:
    """Return an event's detail; the account's owner sees only the code (`queries.event_page`)."""
    return f"{code}: {why}"


def _ended(sessions: int) -> str:
    return "1 session was ended" if sessions == 1 else f"{sessions} sessions were ended"


async def _record(
    tx: Transaction, event: EventName, *of: tuple[UUID, UUID | None], by: str, detail: str | None
) -> None:
    """Record an event for each pair of account and session."""
    values = {"event": event, "actor": by[:100], "detail": detail and detail[:500], "created_at": utc_now()}
    events = [{"id": uuid7(), "user_id": user_id, "session_id": session_id, **values} for user_id, session_id in of]
    await tx.execute_many(ADD_EVENT, events)
