"""`python -m audifi ipos …`: operators' commands. Each change is recorded with the operator's name."""

from collections.abc import Awaitable, Callable
from dataclasses import astuple, dataclass
from datetime import datetime
from typing import Annotated
from uuid import UUID

import typer
from sqlalchemy import bindparam, select

from audifi.auth.models import User
from audifi.core.clock import utc_now
from audifi.core.console import By, Reason, fail, run, show
from audifi.core.db.database import Transaction
from audifi.core.db.statements import Statement
from audifi.core.http.problems import Problem
from audifi.ipos import closing, offers
from audifi.ipos.events import Actor
from audifi.ipos.models import Ipo, IpoEvent, IpoStatus
from audifi.ipos.queries import CURRENT, IPO_COLUMNS, IpoRow, shown_status
from audifi.ledger.csv import decimal
from audifi.ledger.models import Asset
from audifi.masters.models import Master

ipos = typer.Typer(no_args_is_help=True, help="Offerings: their progress, and how to stop them.")

MasterId = Annotated[UUID, typer.Argument(metavar="MASTER_ID", help="The master's id.")]
SHOWN = (
    "total_shares retained_shares offered sold returned reserved buyers min_shares opens_at allowlist_until ends_at"
).split()
HOLDS_ESCROW = ("live", "paused", "canceling")
MAX_EVENTS = 100

LIST = Statement(
    select(Master.title, *IPO_COLUMNS)
    .join_from(Ipo, Master, Master.id == Ipo.master_id)
    .order_by(Ipo.number.desc())
    .limit(bindparam("limit")),
    optional={"status": Ipo.status == bindparam("status")},
)
SCALE = Statement(select(Asset.scale).where(Asset.code == bindparam("currency")))
EVENTS = Statement(
    select(IpoEvent.created_at, IpoEvent.event, User.email, IpoEvent.actor, IpoEvent.detail)
    .outerjoin_from(IpoEvent, User, User.id == IpoEvent.user_id)
    .where(IpoEvent.ipo_id == bindparam("ipo_id"))
    .order_by(IpoEvent.id.desc())
    .limit(MAX_EVENTS)
)


@dataclass(frozen=True, slots=True)
class ListedRow(IpoRow):
    title: str


@dataclass(frozen=True, slots=True)
class EventRow:
    created_at: datetime
    event: str
    email: str | None
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

    now = utc_now()
    show(
        ["master", "title", "status", "sold", "offered", "opens at", "ends at"],
        [
            [
                row.master_id,
                row.title,
                shown_status(row, now),
                row.sold - row.returned,
                row.offered,
                row.opens_at,
                row.ends_at,
            ]
            for row in run(work)
        ],
    )


@ipos.command("show")
def show_ipo(master_id: MasterId) -> None:
    """Show the newest offering of a master, and what happened to it."""

    async def work(tx: Transaction) -> tuple[IpoRow, int, list[EventRow]] | None:
        ipo = await tx.fetch_one(CURRENT, IpoRow, master_id=master_id)
        if ipo is None:
            return None
        scale: int = await tx.fetch_value(SCALE, currency=ipo.currency)
        return ipo, scale, await tx.fetch_all(EVENTS, EventRow, ipo_id=ipo.id)

    result = run(work)
    if result is None:
        fail(f"{master_id} has no offering.")
    ipo, scale, events = result
    escrow = ipo.escrow if ipo.status in HOLDS_ESCROW else 0
    rows: list[list[object]] = [
        ["status", shown_status(ipo, utc_now())],
        ["unit price", f"{decimal(ipo.unit_price, scale)} {ipo.currency}"],
        ["in escrow", f"{decimal(escrow, scale)} {ipo.currency}"],
    ]
    show(["offering", str(ipo.id)], rows + [[name.replace("_", " "), getattr(ipo, name)] for name in SHOWN])
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
        fail(f"{master_id}: {problem.title}. {problem.detail or ''}".strip())
