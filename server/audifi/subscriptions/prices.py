"""Prices of plans, as Stripe has them. An old price stays: who pays it keeps it, and what was sold with it."""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import bindparam, select, text, update
from sqlalchemy.dialects import postgresql

from audifi.core.db.database import Transaction
from audifi.core.db.statements import Statement, parameters
from audifi.payments.client import Stripe
from audifi.payments.syncs import SyncKind, request_sync
from audifi.subscriptions.models import Interval, PlanPrice
from audifi.subscriptions.plans import VERSION, PaidPlan
from audifi.subscriptions.stripe_objects import PLANS_BY_KEY, StripePrice, parse_lookup_key
from audifi.subscriptions.stripe_objects import price as read_price

if TYPE_CHECKING:
    from audifi.services import Services

_prices = PlanPrice.__table__
_new = postgresql.insert(_prices).values(
    parameters(*(column.name for column in _prices.c if column.name != "entitlements_version"))
    | {"entitlements_version": VERSION}
)
UPSERT = Statement(
    _new.on_conflict_do_update(
        index_elements=["price_id"],
        set_={"lookup_key": _new.excluded.lookup_key, "active": _new.excluded.active},
    )
)
# A lookup key moves to the price that is sold from now on.
TAKE_KEY = Statement(
    update(_prices)
    .where(_prices.c.lookup_key == bindparam("key"), _prices.c.price_id != bindparam("new_price_id"))
    .values(lookup_key=None, active=False)
    .returning(_prices.c.price_id)
)
CLOSE = Statement(
    update(_prices).where(_prices.c.price_id == bindparam("closed_id")).values(lookup_key=None, active=False)
)
FIND = Statement(
    select(_prices.c.price_id, _prices.c.plan, _prices.c.interval).where(_prices.c.price_id == bindparam("price_id"))
)
FOR_SALE = Statement(
    select(_prices.c.price_id, _prices.c.unit_amount).where(
        _prices.c.plan == bindparam("plan"),
        _prices.c.interval == bindparam("interval"),
        _prices.c.currency == bindparam("currency"),
        _prices.c.active,
    )
)
CLOSE_OTHERS = Statement(
    text("UPDATE plan_prices SET lookup_key = NULL, active = false WHERE active AND NOT price_id = ANY(:sold)")
)


@dataclass(frozen=True, slots=True)
class PriceRow:
    price_id: str
    plan: PaidPlan
    interval: Interval


@dataclass(frozen=True, slots=True)
class OfferedRow:
    price_id: str
    unit_amount: int


@dataclass(frozen=True, slots=True)
class _PriceId:
    price_id: str


async def record(transaction: Transaction, price: StripePrice) -> list[str]:
    """Write a price of a plan, if it is one; return the ids of prices whose lookup key it has now."""
    sold = parse_lookup_key(price.lookup_key)
    if sold is None:
        await transaction.execute(CLOSE, closed_id=price.id)
        return []
    others = await transaction.fetch_all(TAKE_KEY, _PriceId, key=price.lookup_key, new_price_id=price.id)
    plan, interval = sold
    await transaction.execute(
        UPSERT,
        price_id=price.id,
        plan=plan,
        interval=interval,
        currency=price.currency,
        unit_amount=price.unit_amount,
        lookup_key=price.lookup_key,
        active=price.active,
    )
    return [other.price_id for other in others]


async def find(transaction: Transaction, price_id: str) -> PriceRow | None:
    return await transaction.fetch_one(FIND, PriceRow, price_id=price_id)


async def fetch_sold(stripe: Stripe, *, currencies: tuple[str, ...]) -> list[StripePrice]:
    """Return the prices at Stripe that have a plan's lookup key.

    Raises:
        Problem, RefusedError: see `Stripe.call`.
    """
    keys = [
        f"{plan}_{interval}_{currency.lower()}"
        for plan in PLANS_BY_KEY
        for interval in ("month", "year")
        for currency in currencies
    ]
    page = await stripe.call(
        "price_list", lambda v1: v1.prices.list_async({"lookup_keys": keys, "active": True, "limit": 100})
    )
    return [read_price(each) for each in page.data]


async def record_sold(transaction: Transaction, sold: list[StripePrice]) -> None:
    """Write all prices that are sold, and close the others."""
    for price in sold:
        await record(transaction, price)
    await transaction.execute(CLOSE_OTHERS, sold=[price.id for price in sold])


async def _fetch(services: "Services", provider_id: str) -> StripePrice | None:
    thing = await services.stripe.find("price_retrieve", lambda v1: v1.prices.retrieve_async(provider_id))
    return read_price(thing) if thing is not None else None


async def _write(services: "Services", transaction: Transaction, provider_id: str, price: StripePrice | None) -> None:
    if price is None:
        await transaction.execute(CLOSE, closed_id=provider_id)
        return
    now: datetime = services.clock()
    for other in await record(transaction, price):  # what was known of it may be older than this
        await request_sync(transaction, services, kind=SYNC.name, provider_id=other, now=now)


SYNC = SyncKind(name="price", events=("price.*",), fetch=_fetch, write=_write)
