"""`python -m audifi masters …`: operators' commands. Each change is recorded with the operator's name."""

from collections.abc import Awaitable, Callable
from dataclasses import astuple, dataclass
from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

import typer
from sqlalchemy import bindparam, select

from audifi.auth.models import User
from audifi.core.clock import utc_now
from audifi.core.console import By, Reason, fail, run, show
from audifi.core.db.database import Transaction
from audifi.core.db.statements import Statement
from audifi.core.http.problems import Problem
from audifi.masters import states
from audifi.masters.models import Master, MasterStatus
from audifi.masters.queries import GET, FullMasterRow
from audifi.masters.states import Actor

masters = typer.Typer(no_args_is_help=True, help="Masters: their review, and their suspension.")

MasterId = Annotated[UUID, typer.Argument(metavar="ID", help="The master's id.")]

LIST = Statement(
    select(Master.id, Master.status, Master.suspended_at, Master.title, User.email, Master.created_at)
    .join_from(Master, User, User.id == Master.artist_id)
    .order_by(Master.id.desc())
    .limit(bindparam("limit")),
    optional={"status": Master.status == bindparam("status")},
)


@dataclass(frozen=True, slots=True)
class ListedRow:
    id: UUID
    status: MasterStatus
    suspended_at: datetime | None
    title: str
    email: str
    created_at: datetime


@masters.command("list")
def list_masters(
    status: Annotated[MasterStatus | None, typer.Option()] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 50,
) -> None:
    """List the newest masters."""

    async def work(tx: Transaction) -> list[ListedRow]:
        return await tx.fetch_all(LIST, ListedRow, status=status, limit=limit)

    rows = [list(astuple(row)) for row in run(work)]
    show(["id", "status", "suspended at", "title", "artist", "registered at"], rows)


@masters.command("review")
def review(
    master_id: MasterId,
    decision: Annotated[Literal["approve", "reject"], typer.Argument()],
    by: By,
    reason: Annotated[str | None, typer.Option(help="To reject: what the artist has to change.")] = None,
) -> None:
    """Approve or reject a submitted master."""
    if (decision == "reject") != bool(reason and reason.strip()):
        raise typer.BadParameter("--reason belongs to reject, and must not be empty")

    async def work(tx: Transaction) -> FullMasterRow:
        master = await tx.fetch_one(GET, FullMasterRow, master_id=master_id)
        return await states.review(
            tx,
            master_id=master_id,
            reason=reason[:500] if reason else None,
            expected_version=master.version if master else 0,
            by=Actor(name=by),
            now=utc_now(),
        )

    master = _run(master_id, work)
    typer.echo(f"{master.title} is {master.status}.")


@masters.command("suspend")
def suspend(master_id: MasterId, reason: Reason, by: By) -> None:
    """Suspend a master: nothing of it can be bought, sold, changed or distributed. Claims go on."""

    async def work(tx: Transaction) -> bool:
        return await states.suspend(tx, master_id=master_id, reason=reason[:500], by=Actor(name=by), now=utc_now())

    typer.echo(f"{master_id} is suspended{'' if _run(master_id, work) else ' already'}.")


@masters.command("restore")
def restore(master_id: MasterId, by: By) -> None:
    """Return a suspended master to the state that it had."""

    async def work(tx: Transaction) -> bool:
        return await states.restore(tx, master_id=master_id, by=Actor(name=by), now=utc_now())

    typer.echo(f"{master_id} is restored." if _run(master_id, work) else f"{master_id} isn't suspended.")


def _run[Result](master_id: UUID, work: Callable[[Transaction], Awaitable[Result]]) -> Result:
    try:
        return run(work)
    except Problem as problem:
        fail(f"{master_id}: {problem.title}. {problem.detail or ''}".strip())
