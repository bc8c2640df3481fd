"""Turns exact sums of lines into revenue: rounded once for each statement, the rest is carried to the next one."""

from calendar import monthrange
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import ROUND_FLOOR, Context, Decimal, Inexact
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    FromClause,
    Select,
    Text,
    Uuid,
    any_,
    bindparam,
    func,
    insert,
    select,
    text,
    true,
    type_coerce,
    update,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import aliased
from uuid6 import uuid7

from audifi.core.db.database import Transaction
from audifi.core.db.statements import Statement, parameters
from audifi.dividends import revenue
from audifi.dividends.revenue import NewRevenue
from audifi.ipos.models import Ipo
from audifi.ledger.models import Asset
from audifi.royalties.models import RoyaltyCarry, RoyaltyLine, RoyaltyStatement, RoyaltyTotal

EXACT = Context(prec=60, traps=[Inexact])
"""Raises where a sum would be rounded."""

LINES = RoyaltyLine.__table__
CARRIES = RoyaltyCarry.__table__
TOTALS = RoyaltyTotal.__table__
IPOS = Ipo.__table__
ASSETS = Asset.__table__
OTHER = aliased(RoyaltyLine, name="other")
OTHERS_STATEMENT = aliased(RoyaltyStatement, name="others_statement")


@dataclass(frozen=True, slots=True)
class SumRow:
    """The sum of lines of a statement that belong to a master and have a currency."""

    master_id: UUID
    currency: str
    lines: int
    amount: Decimal
    first_month: date
    last_month: date


@dataclass(frozen=True, slots=True)
class CarryRow:
    master_id: UUID
    currency: str
    amount: Decimal
    scale: int
    ipo_id: UUID | None


def duplicates(condition: ColumnElement[bool]) -> Statement:
    """Return the statement that counts matched lines which another statement has for the same master, too.

    Each key is looked up once, however many lines have it, and by the index: LIMIT keeps the planner from joining.
    """
    keys = (
        select(LINES.c.key, LINES.c.master_id, func.count().label("lines"))
        .where(LINES.c.statement_id == bindparam("statement_id"), text("royalty_lines.status = 'matched'"), condition)
        .group_by(LINES.c.key, LINES.c.master_id)
        .subquery("keys")
    )
    same = (
        select(OTHER.number)
        .join(OTHERS_STATEMENT, OTHERS_STATEMENT.id == OTHER.statement_id)
        .where(
            OTHER.key == keys.c.key,
            text("other.status = 'matched'"),
            OTHER.master_id == keys.c.master_id,
            OTHER.statement_id != bindparam("statement_id"),
            text("others_statement.status IN ('suspected_duplicate', 'imported')"),
        )
        .limit(1)
        .lateral("same")
    )
    return Statement(
        select(func.coalesce(func.sum(keys.c.lines), 0).cast(BigInteger)).select_from(keys.join(same, true()))
    )


def sums(lines: FromClause) -> Select[*tuple[Any, ...]]:
    """Return the select that adds lines up by master and currency; each row is a `SumRow`."""
    return select(
        type_coerce(lines.c.master_id, Uuid).label("master_id"),  # matched lines have one
        lines.c.currency,
        func.count().label("lines"),
        func.sum(lines.c.amount).label("amount"),
        func.min(lines.c.sale_month).label("first_month"),
        func.max(lines.c.sale_month).label("last_month"),
    ).group_by(lines.c.master_id, lines.c.currency)


SUMS = Statement(
    sums(LINES).where(LINES.c.statement_id == bindparam("statement_id"), text("royalty_lines.status = 'matched'"))
)
ADD_CARRY = Statement(
    postgresql.insert(CARRIES)
    .values(parameters("master_id", "provider", "currency", "amount"))
    .on_conflict_do_nothing()
)
LOCK_CARRIES = Statement(
    select(
        CARRIES.c.master_id,
        CARRIES.c.currency,
        CARRIES.c.amount,
        select(ASSETS.c.scale).where(ASSETS.c.code == CARRIES.c.currency).scalar_subquery().label("scale"),
        select(IPOS.c.id)
        .where(IPOS.c.master_id == CARRIES.c.master_id, text("ipos.status IN ('live', 'paused', 'completed')"))
        .scalar_subquery()
        .label("ipo_id"),
    )
    .where(
        CARRIES.c.provider == bindparam("provider"),
        CARRIES.c.master_id == any_(bindparam("masters", type_=ARRAY(Uuid))),
        CARRIES.c.currency == any_(bindparam("currencies", type_=ARRAY(Text))),
    )
    .order_by(CARRIES.c.master_id, CARRIES.c.currency)
    .with_for_update(of=CARRIES)
)
SET_CARRY = Statement(
    update(CARRIES)
    .where(
        CARRIES.c.master_id == bindparam("of_master"),
        CARRIES.c.provider == bindparam("of_provider"),
        CARRIES.c.currency == bindparam("of_currency"),
    )
    .values(amount=bindparam("new_amount"))
)
INSERT_TOTAL = Statement(insert(TOTALS))


def settle(amount: Decimal, *, carried: Decimal, scale: int) -> tuple[int, Decimal]:
    """Round a sum down to base units, and return what is left.

    Nothing is lost: what is left is the fraction of a base unit, or all of a sum that isn't positive.

    Args:
        amount: the exact sum of a statement's lines.
        carried: what was left of the statement before.
        scale: decimals of the currency.

    Returns:
        Base units, at least 0, and what is carried to the next statement.
    """
    total = EXACT.add(amount, carried)
    units = max(0, int(EXACT.scaleb(total, scale).to_integral_value(ROUND_FLOOR)))
    return units, EXACT.subtract(total, EXACT.scaleb(Decimal(units), -scale))


async def lock_carries(tx: Transaction, *, provider: str, rows: Sequence[SumRow]) -> dict[tuple[UUID, str], CarryRow]:
    """Lock what earlier statements have left, by master and currency: from here on, statements follow each other."""
    keys = sorted((row.master_id, row.currency) for row in rows)
    await tx.execute_many(
        ADD_CARRY,
        [
            {"master_id": master_id, "provider": provider, "currency": currency, "amount": Decimal(0)}
            for master_id, currency in keys
        ],
    )
    carries = await tx.fetch_all(
        LOCK_CARRIES,
        CarryRow,
        provider=provider,
        masters=[master_id for master_id, _ in keys],
        currencies=[currency for _, currency in keys],
    )
    return {(carry.master_id, carry.currency): carry for carry in carries}


async def record_revenue(
    tx: Transaction,
    *,
    statement_id: UUID,
    provider: str,
    rows: Sequence[SumRow],
    carries: Mapping[tuple[UUID, str], CarryRow],
    now: datetime,
) -> None:
    """Record the revenue of each master and currency, with locked carries, and write the totals down.

    Revenue of an offering that was canceled meanwhile isn't recorded: all of it is carried.
    """
    totals: list[dict[str, Any]] = []
    for row in rows:
        carry = carries[row.master_id, row.currency]
        total_id, period_end = uuid7(), _last_day(row.last_month)
        units, rest, event_id = 0, EXACT.add(row.amount, carry.amount), None
        if carry.ipo_id is not None:
            units, rest = settle(row.amount, carried=carry.amount, scale=carry.scale)
        if units and carry.ipo_id is not None:
            event = NewRevenue(
                ipo_id=carry.ipo_id,
                source="streaming",
                amount=units,
                currency=row.currency,
                period_start=row.first_month,
                period_end=period_end,
                provider=provider,
                external_ref=f"statement:{total_id}",
                statement_id=statement_id,
            )
            event_id = await revenue.record(tx, event, now=now)
        totals.append(
            {
                "id": total_id,
                "statement_id": statement_id,
                "master_id": row.master_id,
                "currency": row.currency,
                "lines": row.lines,
                "amount": row.amount,
                "carried_in": carry.amount,
                "recorded": units,
                "carried_out": rest,
                "event_id": event_id,
                "period_start": row.first_month,
                "period_end": period_end,
                "created_at": now,
            }
        )
    await tx.execute_many(INSERT_TOTAL, totals)
    await tx.execute_many(SET_CARRY, [_carry(total, provider) for total in totals])


def _carry(total: Mapping[str, Any], provider: str) -> dict[str, Any]:
    return {
        "of_master": total["master_id"],
        "of_provider": provider,
        "of_currency": total["currency"],
        "new_amount": total["carried_out"],
    }


def _last_day(month: date) -> date:
    """Return the last day of a month, given by its first one."""
    return month.replace(day=monthrange(month.year, month.month)[1])
