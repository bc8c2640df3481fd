"""Checkout Sessions: Stripe's page on which an account pays. No card data passes this server.

https://docs.stripe.com/payments/checkout/how-checkout-works
"""

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID

from sqlalchemy import bindparam, insert, literal_column, select, update
from uuid6 import uuid7

from audifi.core.db.database import Transaction
from audifi.core.db.statements import Statement, parameters
from audifi.core.jobs.each import for_each
from audifi.payments import problems
from audifi.payments.client import RefusedError
from audifi.payments.customers import customer_of
from audifi.payments.intents import make_once
from audifi.payments.models import IS_LIVE, Checkout, CheckoutKind, CheckoutStatus
from audifi.payments.stripe_objects import METADATA_ID, CheckoutSession, checkout_session
from audifi.payments.syncs import sync_now

if TYPE_CHECKING:
    from audifi.services import Services

LIFETIME = timedelta(minutes=35)
"""Stripe's least is 30 minutes from when it makes the session, which may be a moment later."""
RESUMED_AFTER = timedelta(minutes=1)
"""By then the request that made the row has ended."""
MADE_WITHIN = timedelta(minutes=3)
"""After that, a page is only looked for: Stripe repeats its own 500 for a day, and nobody waits so long to pay. A page
whose address never came has been seen by nobody, so it can't be paid on."""
TRIAL_DAYS = 14
BATCH = 100

_checkouts = Checkout.__table__


@dataclass(frozen=True, slots=True)
class CheckoutRow:
    id: UUID
    user_id: UUID
    kind: CheckoutKind
    plan: str | None
    interval: str | None
    price_id: str | None
    is_trial: bool
    amount: int
    currency: str
    success_path: str
    cancel_path: str
    status: CheckoutStatus
    provider_id: str | None
    url: str | None
    expires_at: datetime
    created_at: datetime


COLUMNS = [_checkouts.c[name] for name in CheckoutRow.__dataclass_fields__]
_this = _checkouts.c.id == bindparam("checkout_id")
CREATE = Statement(
    insert(_checkouts)
    .values(
        parameters(
            *("id", "user_id", "kind", "plan", "interval", "price_id", "is_trial", "amount", "currency"),
            *("success_path", "cancel_path", "expires_at", "created_at"),
        )
    )
    .values(status="creating")
    .returning(*COLUMNS)
)
FIND = Statement(select(*COLUMNS).where(_this), optional={"owner_id": _checkouts.c.user_id == bindparam("owner_id")})
OPEN = Statement(
    update(_checkouts)
    .where(_this, _checkouts.c.status == "creating")
    .values(status="open", provider_id=bindparam("session_id"), url=bindparam("new_url"))
)
FAIL = Statement(update(_checkouts).where(_this, _checkouts.c.status == "creating").values(status="failed"))
UNFINISHED = Statement(
    select(*COLUMNS)
    .where(_checkouts.c.status == "creating", literal_column(IS_LIVE), _checkouts.c.created_at < bindparam("before"))
    .order_by(_checkouts.c.created_at)
    .limit(BATCH)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCheckout:
    """What an account wants to pay for."""

    kind: CheckoutKind
    amount: int
    currency: str
    success_path: str
    cancel_path: str
    plan: str | None = None
    interval: str | None = None
    price_id: str | None = None
    is_trial: bool = False


async def create(transaction: Transaction, *, user_id: UUID, wanted: NewCheckout, now: datetime) -> CheckoutRow:
    """Record that a page is wanted. The caller commits, then calls `open_page`.

    Raises:
        asyncpg.UniqueViolationError: `uq_checkouts_subscription`, the account has an open one for a subscription.
    """
    return await transaction.fetch_row(
        CREATE, CheckoutRow, **asdict(wanted), id=uuid7(), user_id=user_id, expires_at=now + LIFETIME, created_at=now
    )


async def find(services: "Services", *, checkout_id: UUID, owner_id: UUID | None = None) -> CheckoutRow:
    """
    Raises:
        Problem: 404 `checkout.not_found`, also where it is another account's.
    """
    checkout = await services.database.fetch_one(FIND, CheckoutRow, checkout_id=checkout_id, owner_id=owner_id)
    if checkout is None:
        raise problems.checkout_not_found()
    return checkout


async def open_page(services: "Services", *, checkout_id: UUID) -> CheckoutRow:
    """Make the page of a checkout that has none yet. Called outside a transaction, any number of times.

    Raises:
        Problem: `checkout.failed`, and those of `Stripe.call`.
    """
    checkout = await find(services, checkout_id=checkout_id)
    if checkout.status == "creating":
        await _open(services, checkout)
        checkout = await find(services, checkout_id=checkout_id)
    if checkout.status == "failed":
        raise problems.checkout_failed()
    return checkout


async def resume(services: "Services") -> None:
    """Open the pages of checkouts whose request didn't come so far: the server has stopped, or Stripe was away."""
    before = services.clock() - RESUMED_AFTER
    unfinished = await services.background_database.fetch_all(UNFINISHED, CheckoutRow, before=before)
    await for_each(unfinished, lambda checkout: _open(services, checkout))


async def _open(services: "Services", checkout: CheckoutRow) -> None:
    customer = await customer_of(services, checkout.user_id)
    try:
        session = await _make_session(services, checkout, customer)
    except RefusedError as error:
        session = None
        if error.is_missing:  # the customer was deleted there, and the next attempt makes another
            await sync_now(services, kind="customer", provider_id=customer)
    if session is None:
        await services.database.execute(FAIL, checkout_id=checkout.id)
    elif session.status == "open":
        await services.database.execute(OPEN, checkout_id=checkout.id, session_id=session.id, new_url=session.url)
    else:  # an earlier attempt has made it, and it has ended since
        await sync_now(services, kind="checkout", provider_id=session.id)


def page_url(app_url: str, path: str, checkout_id: UUID) -> str:
    """Return where the page leads back to. It carries our id alone, and proves nothing."""
    parts = urlsplit(path)
    query = "&".join(filter(None, [parts.query, f"checkout={checkout_id}"]))
    return app_url + urlunsplit(parts._replace(query=query))


async def _make_session(services: "Services", checkout: CheckoutRow, customer: str) -> CheckoutSession | None:
    parameters = _session_parameters(services.settings.app_url, checkout, customer)

    async def make() -> CheckoutSession:
        return checkout_session(
            await services.stripe.call(
                "checkout_create",
                lambda v1: v1.checkout.sessions.create_async(
                    parameters, {"idempotency_key": f"checkout:{checkout.id}"}
                ),
            )
        )

    async def look() -> CheckoutSession | None:
        sessions = await services.stripe.call(
            "checkout_list", lambda v1: v1.checkout.sessions.list_async({"customer": customer, "limit": 100})
        )
        read = map(checkout_session, sessions.data)
        return next((session for session in read if session.audifi_id == checkout.id), None)

    return await make_once(
        created_at=checkout.created_at,
        now=services.clock(),
        until=MADE_WITHIN,
        quiet=timedelta(0),
        make=make,
        find=look,
    )


def _session_parameters(app_url: str, checkout: CheckoutRow, customer: str) -> Any:
    metadata = {METADATA_ID: str(checkout.id)}
    common = {
        "customer": customer,
        "client_reference_id": str(checkout.id),
        "metadata": metadata,
        "success_url": page_url(app_url, checkout.success_path, checkout.id),
        "cancel_url": page_url(app_url, checkout.cancel_path, checkout.id),
        "expires_at": int(checkout.expires_at.timestamp()),
    }
    if checkout.kind == "deposit":
        price = {
            "currency": checkout.currency.lower(),
            "unit_amount": checkout.amount,
            "product_data": {"name": "Deposit"},
        }
        return common | {
            "mode": "payment",
            "line_items": [{"price_data": price, "quantity": 1}],
            "payment_intent_data": {"metadata": metadata},
        }
    trial = {
        "trial_period_days": TRIAL_DAYS,
        "trial_settings": {"end_behavior": {"missing_payment_method": "cancel"}},
    }
    return common | {
        "mode": "subscription",
        "line_items": [{"price": checkout.price_id, "quantity": 1}],
        "payment_method_collection": "always",
        "subscription_data": {"metadata": metadata} | (trial if checkout.is_trial else {}),
    }
