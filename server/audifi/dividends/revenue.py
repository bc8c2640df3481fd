"""Revenue of offered masters: recorded, then funded, or voided. Each function writes in the caller's transaction."""

from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

from sqlalchemy import bindparam, select, update
from sqlalchemy.dialects import postgresql
from uuid6 import uuid7

from audifi.auth.problems import insufficient_role
from audifi.core.db.database import Transaction
from audifi.core.db.statements import Statement, parameters
from audifi.core.http.problems import not_found
from audifi.dividends import problems
from audifi.dividends.models import Payer, RevenueEvent, RevenueSource, RevenueStatus
from audifi.ipos.models import Ipo
from audifi.ledger import service as ledger
from audifi.ledger.accounts import AccountRef, provider_account, user_account
from audifi.ledger.service import NewTransfer, Posting
from audifi.masters.models import Master

_events, _ipos, _masters = RevenueEvent.__table__, Ipo.__table__, Master.__table__

RECORD = Statement(
    postgresql.insert(_events)
    .values(
        parameters(
            "id",
            "ipo_id",
            "source",
            "amount",
            "currency",
            "period_start",
            "period_end",
            "provider",
            "external_ref",
            "statement_id",
            "recorded_by",
            "created_at",
        )
    )
    .values(status="recorded")
    .on_conflict_do_nothing(index_elements=["ipo_id", "provider", "external_ref"])
)
COLUMNS = ("id", "ipo_id", "source", "amount", "currency", "status", "funded_from", "distribution_id")
LOCK = Statement(
    select(
        *(_events.c[name] for name in COLUMNS),
        _ipos.c.master_id,
        _ipos.c.artist_id,
        _ipos.c.status.label("ipo_status"),
        _masters.c.suspended_at,
        _ipos.c.total_shares,
        _ipos.c.holders_bps,
        _ipos.c.platform_bps,
    )
    .join_from(_events, _ipos, _ipos.c.id == _events.c.ipo_id)
    .join(_masters, _masters.c.id == _ipos.c.master_id)
    .where(_events.c.id == bindparam("event_id"))
    .with_for_update(key_share=True, of=_events)
)
_one = _events.c.id == bindparam("event_id")
FUND = Statement(update(_events).where(_one).values(status="funded", funded_from=bindparam("payer")))
VOID = Statement(update(_events).where(_one).values(status="voided"))


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRevenue:
    """Revenue that was reported; money moves when it is funded."""

    ipo_id: UUID
    """The offering of the master that earned it: `ipos.queries.CURRENT`."""
    source: RevenueSource
    amount: int
    """In base units; at least 1."""
    currency: str
    """One of the platform's currencies."""
    period_start: date
    period_end: date
    """Included."""
    provider: str
    """The distributor, label or shop that reports it; at most 100 characters."""
    external_ref: str
    """The provider's number of it, once per offering and provider; at most 200 characters."""
    statement_id: UUID | None = None
    """The royalty statement that it was read from."""
    recorded_by: UUID | None = None
    """The account that recorded it."""


async def record(tx: Transaction, revenue: NewRevenue, *, now: datetime) -> UUID:
    """Record revenue; return the event's id.

    Raises:
        Problem: `revenue.duplicate`.
    """
    event_id = uuid7()
    recorded = await tx.execute(
        RECORD,
        id=event_id,
        ipo_id=revenue.ipo_id,
        source=revenue.source,
        amount=revenue.amount,
        currency=revenue.currency,
        period_start=revenue.period_start,
        period_end=revenue.period_end,
        provider=revenue.provider,
        external_ref=revenue.external_ref,
        statement_id=revenue.statement_id,
        recorded_by=revenue.recorded_by,
        created_at=now,
    )
    if not recorded:
        raise problems.duplicate()
    return event_id


@dataclass(frozen=True, slots=True)
class EventRow:
    """A revenue event with what its offering and master say of it."""

    id: UUID
    ipo_id: UUID
    source: RevenueSource
    amount: int
    currency: str
    status: RevenueStatus
    funded_from: Payer | None
    distribution_id: UUID | None
    master_id: UUID
    artist_id: UUID
    ipo_status: str
    suspended_at: datetime | None
    total_shares: int
    holders_bps: int
    platform_bps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """The account that asks for it."""

    user_id: UUID
    is_admin: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """Money for revenue that an admin saw coming in."""

    reference: str
    """The bank's; at most 100 characters."""
    reason: str
    """Where the admin saw it; at most 200 characters, which only operators see."""


def revenue_account(ipo_id: UUID, currency: str) -> AccountRef:
    """Return the account that keeps funded revenue until it is distributed."""
    return AccountRef("ipo", ipo_id, "revenue", currency)


async def lock(tx: Transaction, *, event_id: UUID, by: Actor) -> EventRow:
    """Lock an event of the artist, or of anyone for an admin.

    Raises:
        Problem: 404.
    """
    event = await tx.fetch_one(LOCK, EventRow, event_id=event_id)
    if event is None or (event.artist_id != by.user_id and not by.is_admin):
        raise not_found()
    return event


async def fund(tx: Transaction, event: EventRow, *, receipt: Receipt | None, actor_id: UUID, now: datetime) -> None:
    """Move the money of a recorded event to the account of funded revenue.

    Args:
        tx: the transaction in which `lock` returned the event.
        event: a recorded one.
        receipt: what paid it; None: the artist's available balance does.
        actor_id: the artist or the admin.
        now: the instant.

    Raises:
        Problem: `balance.insufficient`, `account.frozen`.
    """
    payer: Payer = "receipt" if receipt else "artist"
    await tx.execute(FUND, event_id=event.id, payer=payer)
    await ledger.post(
        tx,
        transfer=NewTransfer(
            kind="revenue_funding",
            key=f"revenue_funding:{event.id}",
            postings=[
                Posting(_payer_account(event, payer), -event.amount),
                Posting(revenue_account(event.ipo_id, event.currency), event.amount),
            ],
            reference=receipt.reference if receipt else f"revenue:{event.id}",
            reason=receipt.reason if receipt else None,
            actor_id=actor_id,
        ),
        now=now,
    )


async def void(tx: Transaction, *, event_id: UUID, by: Actor, now: datetime) -> EventRow:
    """Void an event of which no distribution was declared. Money goes back to where it came from.

    Raises:
        Problem: 403 for the artist if a receipt paid it; 404; `revenue.voided`, `revenue.declared`,
            `revenue.distributed`, `revenue.not_voidable`.
    """
    event = await lock(tx, event_id=event_id, by=by)
    check_free(event)
    if event.source == "resale_royalty":
        raise problems.revenue_not_voidable()
    if event.funded_from == "receipt" and not by.is_admin:
        raise insufficient_role(("admin",))
    await tx.execute(VOID, event_id=event.id)
    if event.funded_from:
        await ledger.post(
            tx,
            transfer=NewTransfer(
                kind="revenue_return",
                key=f"revenue_return:{event.id}",
                postings=[
                    Posting(revenue_account(event.ipo_id, event.currency), -event.amount),
                    Posting(_payer_account(event, event.funded_from), event.amount),
                ],
                reference=f"revenue:{event.id}",
                actor_id=by.user_id,
            ),
            now=now,
        )
    return event


def check_free(event: EventRow) -> None:
    """
    Raises:
        Problem: the event is voided, distributed, or part of a declared distribution.
    """
    if event.status == "voided":
        raise problems.revenue_voided()
    if event.status == "distributed":
        raise problems.revenue_distributed()
    if event.distribution_id is not None:
        raise problems.revenue_declared()


def _payer_account(event: EventRow, payer: Payer) -> AccountRef:
    if payer == "artist":
        return user_account(event.artist_id, "available", event.currency)
    return provider_account("operator", "external", event.currency)
