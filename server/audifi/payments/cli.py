"""`python -m audifi payments …`: operators look at events, and have Stripe's objects looked at again."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

import typer
from sqlalchemy import BigInteger, Boolean, and_, bindparam, exists, select, text

from audifi.core.clock import utc_now
from audifi.core.console import fail, run, show
from audifi.core.db.database import Transaction
from audifi.core.db.statements import Statement
from audifi.payments.models import Event, Sync
from audifi.payments.syncs import FIRST_LOOK, QUEUE_JOB, RAISE, REQUEST

payments = typer.Typer(no_args_is_help=True, help="Payments: list events, look at Stripe's objects again.")

LISTED = Statement(
    select(
        Event.received_at,
        Event.event_id,
        Event.type,
        Event.object_id,
        Event.status,
        Event.attempts,
        Event.error_code,
    )
    .order_by(Event.received_at.desc())
    .limit(bindparam("limit")),
    optional={"only_failed": and_(Event.status == "failed", bindparam("only_failed", type_=Boolean))},
)
IS_KIND = Statement(select(exists().where(Sync.kind == bindparam("kind"))))
REPLAY = Statement(
    text(f"""
        WITH old AS (
            SELECT DISTINCT sync_kind AS kind, sync_id AS provider_id, CAST(:next_at AS timestamptz) AS next_at
            FROM provider_events WHERE received_at >= :since AND sync_kind IS NOT NULL
                AND (CAST(:type AS text) IS NULL OR type = :type)
        ), sync AS ({RAISE.format(source="old")}), job AS ({QUEUE_JOB} FROM sync)
        SELECT count(*) AS objects FROM sync""").columns(objects=BigInteger)  # noqa: S608 - made of constants
)


@dataclass(frozen=True, slots=True)
class ListedEvent:
    received_at: datetime
    event_id: str
    type: str
    object_id: str
    status: str
    attempts: int
    error_code: str | None


@payments.command("events")
def list_events(
    *,
    failed: Annotated[bool, typer.Option("--failed", help="Only those whose object couldn't be looked at.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 50,
) -> None:
    """List the newest events."""

    async def work(tx: Transaction) -> list[ListedEvent]:
        return await tx.fetch_all(LISTED, ListedEvent, only_failed=True if failed else None, limit=limit)

    show(
        ["received at", "event", "type", "object", "status", "failures", "error"],
        [
            [row.received_at, row.event_id, row.type, row.object_id, row.status, row.attempts, row.error_code]
            for row in run(work)
        ],
    )


@payments.command("sync")
def sync_object(
    kind: Annotated[str, typer.Argument(help="checkout, refund, dispute, customer, account, …")],
    provider_id: Annotated[str, typer.Argument(metavar="ID", help="Stripe's; ACCOUNT/ID for a connected account's.")],
) -> None:
    """Have an object of Stripe's looked at again, by the server."""

    async def work(tx: Transaction) -> None:
        if not await tx.fetch_value(IS_KIND, kind=kind):
            fail(f"Nothing of the kind {kind} has been looked at.")
        await tx.execute(REQUEST, kind=kind, provider_id=provider_id, next_at=utc_now() + FIRST_LOOK)

    run(work)
    typer.echo(f"{kind} {provider_id} will be looked at.")


@payments.command("replay")
def replay_events(
    since: Annotated[datetime, typer.Option(help="In UTC: 2026-11-28T09:00:00.")],
    event_type: Annotated[str | None, typer.Option("--type", help="Only events of this type.")] = None,
) -> None:
    """Have the objects of all events since then looked at again, each once."""

    async def work(tx: Transaction) -> int:
        values = {"since": since.replace(tzinfo=UTC), "type": event_type, "next_at": utc_now() + FIRST_LOOK}
        return int(await tx.fetch_value(REPLAY, **values))

    typer.echo(f"{run(work)} objects will be looked at.")
