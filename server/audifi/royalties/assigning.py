"""Matches lines of a statement with a master by hand."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, Boolean, Text, any_, bindparam, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import ARRAY

from audifi.auth.session_checks import CheckedUser
from audifi.core.db.database import Transaction
from audifi.core.db.statements import Statement
from audifi.royalties import problems, statements
from audifi.royalties.limits import MAX_MATCHED
from audifi.royalties.matching import HAS_OFFERING, MASTERS
from audifi.royalties.queries import LINES, STATEMENTS
from audifi.royalties.schemas import LineMatch
from audifi.royalties.settling import SumRow, duplicates, lock_carries, record_revenue, sums

IS_SELECTED = or_(
    LINES.c.isrc == bindparam("of_isrc", type_=Text),
    LINES.c.upc == bindparam("of_upc", type_=Text),
    LINES.c.number == any_(bindparam("of_numbers", type_=ARRAY(BigInteger))),
)
IS_UNMATCHED = text("royalty_lines.status = 'unmatched'")
IN_STATEMENT = LINES.c.statement_id == bindparam("statement_id")
CAN_MATCH = Statement(
    select(MASTERS.c.id).where(
        MASTERS.c.id == bindparam("master_id"),
        HAS_OFFERING,
        or_(MASTERS.c.artist_id == bindparam("artist_id"), bindparam("of_all_artists", type_=Boolean)),
    )
)


def match_at_most(lines: int) -> Statement:
    """Return the statement that matches selected lines, and adds them up; each row is a `SumRow`."""
    chosen = (
        select(LINES.c.number)
        .where(IN_STATEMENT, IS_UNMATCHED, IS_SELECTED)
        .order_by(LINES.c.number)
        .limit(lines)
        .scalar_subquery()
    )
    changed = (
        update(LINES)
        .where(IN_STATEMENT, LINES.c.number == any_(func.array(chosen)))
        .values(status="matched", master_id=bindparam("new_master_id"))
        .returning(LINES.c.master_id, LINES.c.currency, LINES.c.amount, LINES.c.sale_month)
        .cte("changed")
    )
    return Statement(sums(changed))


MATCH = match_at_most(MAX_MATCHED)
DUPLICATES = duplicates(IS_SELECTED & (LINES.c.master_id == bindparam("of_master")))
REMAINING = Statement(select(func.count()).select_from(LINES).where(IN_STATEMENT, IS_UNMATCHED, IS_SELECTED))
COUNT = Statement(
    update(STATEMENTS)
    .where(STATEMENTS.c.id == bindparam("statement_id"))
    .values(unmatched_lines=STATEMENTS.c.unmatched_lines - bindparam("matched", type_=BigInteger))
)


@dataclass(frozen=True, kw_only=True)
class Matched:
    matched_lines: int
    remaining_lines: int
    """Unmatched lines of the same selection: a request matches 100,000 at most."""


async def match(tx: Transaction, *, user: CheckedUser, statement_id: UUID, body: LineMatch, now: datetime) -> Matched:
    """Match unmatched lines with a master, and record their revenue.

    Raises:
        Problem: 404, 409, or 422.
    """
    statement = await statements.lock(tx, user=user, statement_id=statement_id)
    if statement.status != "imported":
        raise problems.not_imported(statement.status)
    is_allowed = await tx.fetch_value(
        CAN_MATCH,
        master_id=body.master_id,
        artist_id=statement.user_id,
        of_all_artists=statement.of_all_artists,
    )
    if is_allowed is None:
        raise problems.master_invalid()
    selection = {"of_isrc": body.isrc, "of_upc": body.upc, "of_numbers": body.numbers or []}
    rows = await tx.fetch_all(MATCH, SumRow, statement_id=statement_id, new_master_id=body.master_id, **selection)
    if rows:
        carries = await lock_carries(tx, provider=statement.provider, rows=rows)
        suspected = await tx.fetch_value(DUPLICATES, statement_id=statement_id, of_master=body.master_id, **selection)
        if suspected and not body.confirm_duplicates:
            raise problems.lines_suspected(suspected)
        await record_revenue(
            tx, statement_id=statement_id, provider=statement.provider, rows=rows, carries=carries, now=now
        )
    matched = sum(row.lines for row in rows)
    await tx.execute(COUNT, statement_id=statement_id, matched=matched)
    remaining = await tx.fetch_value(REMAINING, statement_id=statement_id, **selection)
    return Matched(matched_lines=matched, remaining_lines=remaining)
