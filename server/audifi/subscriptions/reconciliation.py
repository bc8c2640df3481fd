"""Each night, look at all live subscriptions: those here, and those at Stripe."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import literal_column, select

from audifi.core.db.statements import Statement
from audifi.payments.stripe_objects import Reader
from audifi.payments.syncs import request_sync
from audifi.subscriptions.models import LIVE, LIVE_STATUSES, Subscription

if TYPE_CHECKING:
    from audifi.services import Services

PAGE = 100
BATCH = 100_000

LIVE_IDS = Statement(select(Subscription.provider_id).where(literal_column(LIVE)).limit(BATCH))


@dataclass(frozen=True, slots=True)
class _Id:
    provider_id: str


async def look_at_live(services: "Services", *, page_size: int = PAGE) -> None:
    """Have each live subscription fetched, whichever side knows it."""
    database, now = services.background_database, services.clock()
    ids = {row.provider_id for row in await database.fetch_all(LIVE_IDS, _Id)}
    parameters: Any = {"limit": page_size}
    while True:
        page = await services.stripe.call(
            "subscription_list",
            lambda v1: v1.subscriptions.list_async(parameters),
        )
        listed = [(read.text("id"), read.text("status")) for read in map(Reader, page.data)]
        ids |= {id_ for id_, status in listed if status in LIVE_STATUSES}
        if not page.has_more:
            break
        parameters["starting_after"] = listed[-1][0]
    for id_ in sorted(ids):
        async with database.transaction() as transaction:
            await request_sync(transaction, services, kind="subscription", provider_id=id_, now=now)
