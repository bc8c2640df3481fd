"""Read queries of statements."""

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from uuid import UUID

from sqlalchemy import Boolean, bindparam, or_, select

from audifi.core.db.pagination import PagedList
from audifi.core.db.statements import Statement
from audifi.royalties.models import (
    FileFormat,
    LineStatus,
    Preset,
    RoyaltyLine,
    RoyaltyStatement,
    RoyaltyTotal,
    StatementFailure,
    StatementStatus,
)

STATEMENTS = RoyaltyStatement.__table__
LINES = RoyaltyLine.__table__
TOTALS = RoyaltyTotal.__table__


@dataclass(frozen=True, slots=True)
class StatementRow:
    """A statement."""

    id: UUID
    user_id: UUID
    of_all_artists: bool
    preset: Preset
    format: FileFormat
    provider: str
    columns: str | None
    currency: str | None
    status: StatementStatus
    failure: StatementFailure | None
    failure_detail: str | None
    failure_line: int | None
    size: int
    sha256: bytes
    bytes_read: int
    lines: int
    unmatched_lines: int
    suspected_lines: int
    created_at: datetime
    imported_at: datetime | None


@dataclass(frozen=True, slots=True)
class LineRow:
    """A line of a statement."""

    number: int
    status: LineStatus
    master_id: UUID | None
    reporting_date: date
    sale_month: date
    store: str | None
    artist: str | None
    title: str | None
    isrc: str | None
    upc: str | None
    quantity: int | None
    team_percentage: Decimal | None
    type: str | None
    territory: str | None
    amount: Decimal
    currency: str


@dataclass(frozen=True, slots=True)
class TotalRow:
    """What lines of a statement add up to for a master."""

    id: UUID
    master_id: UUID
    currency: str
    lines: int
    amount: Decimal
    carried_in: Decimal
    recorded: int
    carried_out: Decimal
    event_id: UUID | None
    period_start: date
    period_end: date
    created_at: datetime


COLUMNS = [STATEMENTS.c[name] for name in StatementRow.__dataclass_fields__]
MAY_SEE = or_(STATEMENTS.c.user_id == bindparam("user_id"), bindparam("is_admin", type_=Boolean))
GET = Statement(select(*COLUMNS).where(STATEMENTS.c.id == bindparam("statement_id"), MAY_SEE))
LOCK = Statement(
    select(*COLUMNS).where(STATEMENTS.c.id == bindparam("statement_id"), MAY_SEE).with_for_update(key_share=True)
)
OWN = PagedList(
    "royalty statements",
    select(*COLUMNS).where(STATEMENTS.c.user_id == bindparam("user_id")),
    StatementRow,
    key=RoyaltyStatement.id,
    sorts={"created_at": RoyaltyStatement.created_at},
)
STATEMENT_LINES = PagedList(
    "royalty lines",
    select(*[LINES.c[name] for name in LineRow.__dataclass_fields__]).where(
        LINES.c.statement_id == bindparam("statement_id")
    ),
    LineRow,
    key=RoyaltyLine.number,
    sorts={},
    filters={"status": RoyaltyLine.status == bindparam("status")},
)
STATEMENT_TOTALS = PagedList(
    "royalty totals",
    select(*[TOTALS.c[name] for name in TotalRow.__dataclass_fields__]).where(
        TOTALS.c.statement_id == bindparam("statement_id")
    ),
    TotalRow,
    key=RoyaltyTotal.id,
    sorts={},
)
