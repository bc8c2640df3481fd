"""An account's history: its invoices, and the rows of `payments`. Other features need none of it."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Text, bindparam, func, literal, select, union_all

from audifi.core.db.pagination import PagedList
from audifi.payments import queries as payments
from audifi.subscriptions.models import Invoice

_history = union_all(
    select(
        Invoice.id,
        literal("subscription", Text).label("type"),
        Invoice.status,
        Invoice.total.label("amount"),
        Invoice.currency,
        func.coalesce(Invoice.paid_at, Invoice.period_start).label("created_at"),
    ).where(Invoice.user_id == bindparam("owner_id"), Invoice.total > 0, Invoice.status != "draft"),
    *payments.HISTORY,
).subquery("history")


@dataclass(frozen=True, slots=True)
class HistoryRow:
    id: UUID
    type: str
    status: str
    amount: int
    currency: str
    created_at: datetime


HISTORY = PagedList(
    "payments",
    select(*_history.c),
    HistoryRow,
    key=_history.c.id,
    sorts={},
    filters={
        "type": _history.c.type == bindparam("type"),
        "status": _history.c.status == bindparam("status"),
    },
)
