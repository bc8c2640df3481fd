"""Read queries: an account's money, and events for operators."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, Text, bindparam, literal, select

from audifi.core.db.pagination import PagedList
from audifi.funding.models import Deposit, Dispute, Payout
from audifi.payments.models import Event, EventStatus, Refund


@dataclass(frozen=True, slots=True)
class EventRow:
    event_id: str
    type: str
    object_id: str
    account: str | None
    status: EventStatus
    attempts: int
    error_code: str | None
    created: datetime
    received_at: datetime


def _rows_of(name: str, table: Any, *, is_of_deposit: bool = False) -> Select[*tuple[Any, ...]]:
    money = Deposit if is_of_deposit else table
    rows = select(
        table.id,
        literal(name, Text).label("type"),
        table.status,
        table.amount,
        money.currency.label("currency"),
        table.created_at,
    ).where((table if hasattr(table, "user_id") else money).user_id == bindparam("owner_id"))
    return rows.join(Deposit, Deposit.id == table.deposit_id) if is_of_deposit else rows


HISTORY = (
    _rows_of("deposit", Deposit),
    _rows_of("refund", Refund, is_of_deposit=True),
    _rows_of("dispute", Dispute, is_of_deposit=True),
    _rows_of("payout", Payout),
)
"""The rows of payments in an account's history, which `subscriptions` lists with its own."""
EVENTS = PagedList(
    "payment-events",
    select(*(Event.__table__.c[name] for name in EventRow.__dataclass_fields__)),
    EventRow,
    key=Event.event_id,
    sorts={"received_at": Event.received_at},
    filters={"status": Event.status == bindparam("status")},
)
