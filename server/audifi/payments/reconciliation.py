"""Find missed events: Stripe's list of events every 15 minutes, and each night all objects that haven't ended.

Whatever is found is looked at as if an event had come.
"""

import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import Text, any_, bindparam, select, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import ARRAY

from audifi.core.db.statements import Statement, parameters
from audifi.payments import stripe_objects
from audifi.payments.client import ReadPage
from audifi.payments.disputes import DUE_SOON, ENDED
from audifi.payments.measures import OPEN_DISPUTES
from audifi.payments.models import Cursor, Event
from audifi.payments.sessions import PROVIDER
from audifi.payments.syncs import request_sync
from audifi.payments.webhooks import StripeEvent, record

if TYPE_CHECKING:
    from audifi.services import Services

logger = logging.getLogger(__name__)

EVENTS_KEPT = timedelta(days=30)
WINDOW = timedelta(days=1)
OVERLAP = timedelta(hours=1)
"""Events may get into the list later than others that were made after them."""
RETURNED_WITHIN = timedelta(days=14)
"""After a bank was paid, it may return the money: mostly within 5 working days. Stripe's list of events doesn't have
those of connected accounts."""
DISPUTES_END = timedelta(days=365)
"""At the latest."""
BATCH = 1000

CURSOR = Statement(select(Cursor.position).where(Cursor.name == bindparam("cursor_name")))
MOVE = Statement(
    postgresql.insert(Cursor)
    .values(parameters("name", "position"))
    .on_conflict_do_update(index_elements=["name"], set_={"position": postgresql.insert(Cursor).excluded.position})
)
KNOWN = Statement(select(Event.event_id).where(Event.event_id == any_(bindparam("ids", type_=ARRAY(Text)))))
UNENDED = Statement(
    text(f"""
        SELECT 'checkout' AS kind, c.provider_id FROM checkouts AS c
        WHERE c.status IN ('creating', 'open') AND c.created_at < :before AND c.provider_id IS NOT NULL
        UNION SELECT 'checkout', c.provider_id FROM deposits AS d JOIN checkouts AS c ON c.user_id = d.user_id
        WHERE d.status = 'pending' AND d.provider = '{PROVIDER}' AND c.kind = 'deposit' AND c.status = 'complete'
            AND c.amount = d.amount
        UNION SELECT 'refund', provider_id FROM deposit_refunds
        WHERE status IN ('requested', 'submitted') AND provider_id IS NOT NULL
        LIMIT {BATCH}""").columns(kind=Text, provider_id=Text)  # noqa: S608 - made of constants
)
# Once a night, so that the table may be read whole.
RECENTLY_PAID = Statement(
    text(f"""
        SELECT 'transfer' AS kind, provider_ref AS provider_id FROM payouts
        WHERE provider = '{PROVIDER}' AND status = 'paid' AND ended_at > :since AND provider_ref IS NOT NULL
        ORDER BY ended_at DESC LIMIT {BATCH}""").columns(kind=Text, provider_id=Text)  # noqa: S608 - made of constants
)
COUNT_EVENTS = "events"


@dataclass(frozen=True, slots=True)
class _EventId:
    event_id: str


@dataclass(frozen=True, slots=True)
class _Thing:
    kind: str
    provider_id: str


async def read_events(services: "Services") -> int:
    """Record the events that never arrived, since the last time; return how many there were."""
    database, missed = services.background_database, 0
    read = "event_list"
    async for page in new_pages(
        services, read, lambda v1, parameters: v1.events.list_async(parameters), cursor=COUNT_EVENTS, first=EVENTS_KEPT
    ):
        events = [StripeEvent.model_validate(each.to_dict()) for each in page]
        followed = [event for event in events if services.syncs.following(event.type, is_connected=False)]
        rows = await database.fetch_all(KNOWN, _EventId, ids=[event.id for event in followed])
        known = {row.event_id for row in rows}
        for event in followed:
            if event.id not in known:
                await record(services, database, event, is_connected=False)
                missed += 1
    if missed:
        logger.warning("events had not arrived: count=%d", missed)
    return missed


async def new_pages(
    services: "Services", call: str, read: ReadPage, *, cursor: str, first: timedelta
) -> AsyncIterator[list[Any]]:
    """Yield the pages of what is new in a list, a day at a time, oldest day first.

    The cursor moves over each day once all of it was read: after an interruption, the next run begins there.

    Args:
        services: the process's.
        call: the name of the call.
        read: see `Stripe.pages`.
        cursor: its name.
        first: how far back the first run reads.
    """
    database, now = services.background_database, services.clock()
    since: datetime | None = await database.fetch_value(CURSOR, cursor_name=cursor)
    begin = since - OVERLAP if since else now - first
    while begin < now:
        end = min(begin + WINDOW, now)
        until = end if end < now else None  # Stripe's clock may be ahead
        async for page in services.stripe.pages(call, read, since=begin, until=until):
            yield page
        await database.execute(MOVE, name=cursor, position=end)
        begin = end


async def look_at_unended(services: "Services") -> None:
    """Have everything looked at that hasn't ended, or may still come back, and measure the open disputes."""
    now, database = services.clock(), services.background_database
    things = await database.fetch_all(UNENDED, _Thing, before=now - OVERLAP)
    things += await database.fetch_all(RECENTLY_PAID, _Thing, since=now - RETURNED_WITHIN)
    due_soon = open_disputes = 0
    async for page in services.stripe.pages(
        "dispute_list", lambda v1, parameters: v1.disputes.list_async(parameters), since=now - DISPUTES_END
    ):
        for dispute in map(stripe_objects.dispute, page):
            if dispute.status not in ENDED:
                things.append(_Thing("dispute", dispute.id))
                open_disputes += 1
                due_soon += dispute.due_by is not None and dispute.due_by - now < DUE_SOON
    services.metrics.set(OPEN_DISPUTES, open_disputes, "open")
    services.metrics.set(OPEN_DISPUTES, due_soon, "due_soon")
    for thing in things:
        async with database.transaction() as transaction:
            await request_sync(transaction, services, kind=thing.kind, provider_id=thing.provider_id, now=now)
