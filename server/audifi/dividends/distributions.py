"""Distributions: funded revenue is shared out at a record time that was declared before."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from uuid import UUID

from sqlalchemy import (
    Boolean,
    ColumnElement,
    Text,
    Uuid,
    any_,
    bindparam,
    insert,
    literal_column,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import ARRAY
from uuid6 import uuid7

from audifi.auth.problems import insufficient_role
from audifi.core.db.database import Database, Transaction
from audifi.core.db.statements import Statement, parameters
from audifi.core.jobs.each import for_each
from audifi.dividends import problems, revenue
from audifi.dividends.models import Distribution, DistributionStatus, DividendPool, RevenueEvent, RevenueSource
from audifi.dividends.revenue import Actor, EventRow, Receipt, revenue_account
from audifi.ipos.models import Ipo
from audifi.ipos.splits import part
from audifi.ledger import service as ledger
from audifi.ledger.accounts import platform_account, share_asset, user_account
from audifi.ledger.pools import SCALE, open_pool, pool_account
from audifi.ledger.service import NewTransfer, Posting
from audifi.masters import problems as masters
from audifi.masters.models import Master

MAX_EVENTS = 1000
"""Of a distribution. What is left waits for the next one."""
MAX_NOTICE = timedelta(days=90)
BATCH = 100

_events, _distributions = RevenueEvent.__table__, Distribution.__table__
_ipos, _masters = Ipo.__table__, Master.__table__


@dataclass(frozen=True, slots=True)
class DistributionRow:
    """A distribution."""

    id: UUID
    ipo_id: UUID
    pool_id: UUID
    currency: str
    gross: int
    platform: int
    artist: int
    holders: int
    status: DistributionStatus
    declared_at: datetime
    record_at: datetime
    posted_at: datetime | None


@dataclass(frozen=True, slots=True)
class _Taken:
    id: UUID
    source: RevenueSource
    amount: int


@dataclass(frozen=True, slots=True)
class _Due:
    id: UUID
    ipo_id: UUID
    pool_id: UUID
    currency: str
    gross: int
    platform: int
    artist: int
    holders: int
    artist_id: UUID


@dataclass(frozen=True, slots=True)
class _IdRow:
    id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The parts of a distribution; they add up to its revenue."""

    platform: int
    artist: int
    holders: int


COLUMNS = tuple(_distributions.c[name] for name in DistributionRow.__slots__)
IS_WAITING: ColumnElement[bool] = literal_column(
    "revenue_events.status = 'funded' AND revenue_events.distribution_id IS NULL"
)
# Two requests that declare at once skip each other's events instead of waiting for each other.
TAKE = Statement(
    select(_events.c.id, _events.c.source, _events.c.amount)
    .where(
        _events.c.ipo_id == bindparam("ipo_id"),
        _events.c.currency == bindparam("currency"),
        IS_WAITING,
        or_(_events.c.source == "resale_royalty", ~bindparam("only_royalties", type_=Boolean)),
    )
    .order_by(_events.c.id != bindparam("event_id"), _events.c.id)
    .limit(MAX_EVENTS)
    .with_for_update(key_share=True, skip_locked=True)
)
POOL = Statement(
    select(DividendPool.pool_id).where(
        DividendPool.ipo_id == bindparam("ipo_id"), DividendPool.currency == bindparam("currency")
    )
)
LINK_POOL = Statement(
    postgresql.insert(DividendPool.__table__)
    .values(parameters("pool_id", "ipo_id", "currency"))
    .on_conflict_do_nothing()
)
DECLARE = Statement(
    insert(_distributions)
    .values(
        parameters(
            *("id", "ipo_id", "pool_id", "currency", "gross", "platform", "artist", "holders"),
            *("declared_by", "declared_at", "record_at"),
        )
        | {"status": "declared"}
    )
    .returning(*COLUMNS)
)
ATTACH = Statement(
    update(_events)
    .where(_events.c.id == any_(bindparam("event_ids", type_=ARRAY(Uuid))))
    .values(distribution_id=bindparam("of_distribution"))
)
DUE = Statement(
    select(_distributions.c.id)
    .join_from(_distributions, _ipos, _ipos.c.id == _distributions.c.ipo_id)
    .join(_masters, _masters.c.id == _ipos.c.master_id)
    .where(
        literal_column("distributions.status = 'declared'"),
        _distributions.c.record_at <= bindparam("now", type_=_distributions.c.record_at.type),
        _masters.c.suspended_at.is_(None),
    )
    .order_by(_distributions.c.record_at)
    .limit(BATCH)
)
# Rows are locked in this order: the distribution, its events, then the accounts of the ledger.
_due = (
    select(*(_distributions.c[name] for name in _Due.__slots__ if name != "artist_id"), _ipos.c.artist_id)
    .join_from(_distributions, _ipos, _ipos.c.id == _distributions.c.ipo_id)
    .where(_distributions.c.id == bindparam("distribution_id"), _distributions.c.status == "declared")
    .with_for_update(key_share=True, of=_distributions)
    .cte("due")
)
_distributed = (
    update(_events)
    .where(_events.c.distribution_id == _due.c.id)
    .values(status="distributed")
    .returning(_events.c.id)
    .cte("distributed")
)
BEGIN = Statement(select(*_due.c).add_cte(_distributed))
# The transfer has raised the pool's per_unit; what it was before follows from the amount.
FINISH = Statement(
    text("""
        UPDATE distributions SET status = 'posted', posted_at = :now, transfer_id = :transfer_id,
            per_unit_before = p.per_unit - div(:added + p.residue_before - p.residue, p.units),
            per_unit_after = p.per_unit, residue_after = p.residue
        FROM (
            SELECT id, per_unit, residue, units, mod(mod(residue - :added, units) + units, units) AS residue_before
            FROM ledger_pools
        ) AS p
        WHERE distributions.id = :distribution_id AND p.id = distributions.pool_id
    """).bindparams(
        bindparam("now", type_=_distributions.c.posted_at.type),
        bindparam("transfer_id", type_=Uuid),
        bindparam("added", type_=_distributions.c.per_unit_after.type),
        bindparam("distribution_id", type_=Uuid),
    )
)
CANCEL = Statement(
    update(_distributions)
    .where(_distributions.c.id == bindparam("distribution_id"), _distributions.c.status == "declared")
    .values(
        status="canceled",
        canceled_by=bindparam("operator", type_=Text),
        cancel_reason=bindparam("reason", type_=Text),
    )
    .returning(*COLUMNS)
)
DETACH = Statement(
    update(_events).where(_events.c.distribution_id == bindparam("of_distribution")).values(distribution_id=None)
)


def split(events: Iterable[tuple[RevenueSource, int]], *, platform_bps: int, holders_bps: int) -> Parts:
    """Divide revenue between the platform, the holders and the artist. The residue is the artist's.

    Royalties of resales that an offering gives to its holders are theirs alone: the resale has paid the others.

    Args:
        events: the source and the amount of each.
        platform_bps: the platform's part, in hundredths of a percent.
        holders_bps: the holders'.
    """
    royalties = total = 0
    for source, amount in events:
        if source == "resale_royalty":
            royalties += amount
        else:
            total += amount
    platform, holders = part(total, platform_bps), part(total, holders_bps)
    return Parts(platform=platform, artist=total - platform - holders, holders=holders + royalties)


async def process(
    tx: Transaction,
    *,
    event_id: UUID,
    by: Actor,
    receipt: Receipt | None,
    record_at: datetime | None,
    notice: timedelta,
    now: datetime,
) -> DistributionRow:
    """Fund an event if it isn't, and declare the distribution of all funded revenue of its currency.

    Args:
        tx: one transaction for all of it.
        event_id: a recorded event, or a funded one whose distribution was canceled.
        by: its artist, or an admin with a receipt.
        receipt: what an admin saw coming in; None: the artist's available balance pays.
        record_at: when it is shared out; None: as soon as it may be.
        notice: the least time from the declaration to then.
        now: the instant.

    Raises:
        Problem: 403, 404, 409, 422.
    """
    event = await revenue.lock(tx, event_id=event_id, by=by)
    if receipt and not by.is_admin:
        raise insufficient_role(("admin",))
    if event.suspended_at is not None:
        raise masters.suspended()
    if event.ipo_status != "completed":
        raise problems.offering_live()
    revenue.check_free(event)
    if event.status == "recorded":
        if receipt is None and event.artist_id != by.user_id:
            raise problems.receipt_missing()
        await revenue.fund(tx, event, receipt=receipt, actor_id=by.user_id, now=now)
    earliest, latest = now + notice, now + MAX_NOTICE
    if record_at is not None and not earliest <= record_at <= latest:
        raise problems.record_time_invalid(earliest, latest)
    return await declare(tx, event, declared_by=by.user_id, record_at=record_at or earliest, now=now)


async def declare(
    tx: Transaction,
    event: EventRow,
    *,
    declared_by: UUID | None,
    record_at: datetime,
    now: datetime,
    only_royalties: bool = False,
) -> DistributionRow:
    """Declare a distribution of a funded event, and of what else is funded in its currency.

    Args:
        tx: the transaction in which the event was locked.
        event: a funded one of which no distribution is declared.
        declared_by: the account; None for the schedule.
        record_at: when it is shared out.
        now: the instant.
        only_royalties: leaves out all but the royalties of resales.

    Raises:
        Problem: `distribution.nothing`.
    """
    taken = await tx.fetch_all(
        TAKE,
        _Taken,
        ipo_id=event.ipo_id,
        currency=event.currency,
        event_id=event.id,
        only_royalties=only_royalties,
    )
    parts = split(
        [(row.source, row.amount) for row in taken], platform_bps=event.platform_bps, holders_bps=event.holders_bps
    )
    if not parts.holders:
        raise problems.nothing_to_distribute()
    pool_id = await _open_pool(tx, event)
    row = await tx.fetch_row(
        DECLARE,
        DistributionRow,
        id=uuid7(),
        ipo_id=event.ipo_id,
        pool_id=pool_id,
        currency=event.currency,
        gross=sum(row.amount for row in taken),
        platform=parts.platform,
        artist=parts.artist,
        holders=parts.holders,
        declared_by=declared_by,
        declared_at=now,
        record_at=record_at,
    )
    await tx.execute(ATTACH, event_ids=[each.id for each in taken], of_distribution=row.id)
    return row


async def _open_pool(tx: Transaction, event: EventRow) -> UUID:
    pool: UUID | None = await tx.fetch_value(POOL, ipo_id=event.ipo_id, currency=event.currency)
    if pool is not None:
        return pool
    pool = await open_pool(tx, share=share_asset(event.ipo_id), currency=event.currency, units=event.total_shares)
    await tx.execute(LINK_POOL, pool_id=pool, ipo_id=event.ipo_id, currency=event.currency)
    return pool


async def post(tx: Transaction, *, distribution_id: UUID, now: datetime) -> bool:
    """Share out a declared distribution: one transfer and one row of the pool, whatever the number of holders.

    Returns:
        False if it isn't declared any more.
    """
    due = await tx.fetch_one(BEGIN, _Due, distribution_id=distribution_id)
    if due is None:
        return False
    postings = [
        Posting(revenue_account(due.ipo_id, due.currency), -due.gross),
        Posting(pool_account(due.pool_id, due.currency), due.holders),
        Posting(platform_account("fees", due.currency), due.platform),
        Posting(user_account(due.artist_id, "available", due.currency), due.artist),
    ]
    posted = await ledger.post(
        tx,
        transfer=NewTransfer(
            kind="distribution",
            key=f"distribution:{due.id}",
            postings=[posting for posting in postings if posting.amount],
            reference=f"ipo:{due.ipo_id}",
        ),
        now=now,
    )
    await tx.execute(
        FINISH, distribution_id=due.id, transfer_id=posted.transfer_id, added=Decimal(due.holders * SCALE), now=now
    )
    return True


async def post_due(database: Database, *, now: datetime) -> None:
    """Share out each distribution whose record time has come, unless its master is suspended."""

    async def post_one(row: _IdRow) -> None:
        await database.run(partial(post, distribution_id=row.id, now=now))

    await for_each(await database.fetch_all(DUE, _IdRow, now=now), post_one)


async def cancel(tx: Transaction, *, distribution_id: UUID, operator: str, reason: str) -> DistributionRow:
    """Cancel a declared distribution. Its revenue stays funded, and can be voided or declared again.

    Raises:
        Problem: `distribution.not_declared`.
    """
    row = await tx.fetch_one(CANCEL, DistributionRow, distribution_id=distribution_id, operator=operator, reason=reason)
    if row is None:
        raise problems.not_declared()
    await tx.execute(DETACH, of_distribution=distribution_id)
    return row
