"""Retention of payments' rows."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from audifi.core.db.retention import ExpiredRows
from audifi.payments.models import Event

KEPT = timedelta(days=400)


def expired(now: datetime) -> Sequence[ExpiredRows]:
    events = Event.__table__
    return [ExpiredRows(table=events, by=events.c.received_at, before=now - KEPT)]
