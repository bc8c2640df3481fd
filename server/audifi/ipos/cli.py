"""`python -m audifi ipos …`: operators' commands. Each change is recorded with the operator's name."""

from collections.abc import Awaitable, Callable
from dataclasses import astuple, dataclass
from datetime import datetime
from typing import Annotated
from uuid import UUID

import typer
from sqlalchemy import bindparam, select

from audifi.core.clock import utc_now
from audifi.core.console import By, Reason, fail, run, show
from audifi.core.db.database import Transaction
from audifi.core.db.statements import Statement
from audifi.core.http.problems import Problem
from audifi.ipos import closing, offers
from audifi.ipos.events import Actor
from audifi.ipos.models import Ipo, IpoEvent, IpoStatus
from audifi.ipos.queries import CURRENT, IpoRow
from audifi.masters.models import Master

ipos = typer.Typer(no_args_is_help=True, help="Offerings: their progress, and how to stop them.")

MasterId = Annotated[UUID, typer.Argument(metavar="MASTER_ID", help="The master's id.")]
SHOWN = (
    "status currency unit_price total_shares retained_shares offered sold returned reserved buyers min_shares opens_at "
    "allowlist_until ends_at"
).split()
MAX_EVENTS = 100

LIST = Statement(
    select(Ipo.master_id, Master.title, Ipo.status, Ipo.sold, Ipo.offered, Ipo.opens_at, Ipo.ends_at)
    .join_from(Ipo, Master, Master.id == Ipo.master_id)
    .order_by(Ipo.number.desc())
    .limit(bindparam("limit")),
    optional={"status": Ipo.status == bindparam("status")},
)
EVENTS = Statement(
    select(IpoEvent.created_at, IpoEvent.event, IpoEvent.user_id, IpoEvent.actor, IpoEvent.detail)
    .where(IpoEvent.ipo_id == bindparam("ipo_id"))
    .order_by(IpoEvent.id.desc())
    .limit(MAX_EVENTS)
)


@dataclass(frozen=True, slots=True)
class ListedRow:
    master_id: UUID
    title: str
    status: IpoStatus
    sold: int
    offered: int
    opens_at: datetime
    ends_at: datetime


@dataclass(frozen=True, slots=True)
class EventRow:
    created_at: datetime
    event: str
    user_id: UUID | None
    actor: str | None
    detail: str | None


@ipos.command("list")
def list_ipos(
    status: Annotated[IpoStatus | None, typer.Option()] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 50,
) -> None:
    """List the newest offerings."""

    async def work(tx: Transaction) -> list[ListedRow]:
        return await tx.fetch_all(LIST, ListedRow, status=status, limit=limit)

    rows = [list(astuple(row)) for row in run(work)]
    show(["master", "title", "status", "sold", "offered", "opens at", "ends at"], rows)


@ipos.command("show")
def show_ipo(master_id: MasterId) -> None:
    """Show the newest offering of a master, and what happened to it."""

    async def work(tx: Transaction) -> tuple[IpoRow, list[EventRow]] | None:
        ipo = await tx.fetch_one(CURRENT, IpoRow, master_id=master_id)
        return (ipo, await tx.fetch_all(EVENTS, EventRow, ipo_id=ipo.id)) if ipo else None

    result = run(work)
    if result is None:
        fail(f"{master_id} has no offering.")
    ipo, events = result
    show(["", str(ipo.id)], [[name.replace("_", " "), getattr(ipo, name)] for name in SHOWN])
    show(["at", "event", "account", "operator", "reason"], [list(astuple(event)) for event in events])


@ipos.command("pause")
def pause(master_id: MasterId, reason: Reason, by: By) -> None:
    """Stop the purchases of a live offering."""

    async def work(tx: Transaction) -> IpoRow:
        actor = Actor(name=by, reason=reason[:500])
        return await offers.set_paused(tx, master_id=master_id, paused=True, by=actor, now=utc_now())

    typer.echo(f"The offering is {_run(master_id, work).status}.")


@ipos.command("resume")
def resume(master_id: MasterId, by: By) -> None:
    """Let a paused offering go on."""

    async def work(tx: Transaction) -> IpoRow:
        return await offers.set_paused(tx, master_id=master_id, paused=False, by=Actor(name=by), now=utc_now())

    typer.echo(f"The offering is {_run(master_id, work).status}.")


@ipos.command("cancel")
def cancel(master_id: MasterId, reason: Reason, by: By) -> None:
    """Cancel an offering that isn't completed; a server refunds all buyers within half a minute."""

    async def work(tx: Transaction) -> IpoRow:
        actor = Actor(name=by, reason=reason[:500])
        return await closing.start_cancel(tx, master_id=master_id, by=actor, now=utc_now())

    typer.echo(f"The offering is {_run(master_id, work).status}.")


def _run[Result](master_id: UUID, work: Callable[[Transaction], Awaitable[Result]]) -> Result:
    try:
        return run(work)
    except Problem as problem:
        fail(f"{master_id}: {problem.title}.")
