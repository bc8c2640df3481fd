"""Start a subscription: one page of Stripe's per account, and none where there is a subscription."""

from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

import asyncpg
from sqlalchemy import bindparam, literal_column, select

from audifi.auth.service import lock_user
from audifi.auth.session_checks import CheckedUser
from audifi.core.db.database import Transaction
from audifi.core.db.statements import Statement
from audifi.payments import checkouts
from audifi.payments import problems as payments
from audifi.payments.checkouts import CheckoutRow, NewCheckout
from audifi.payments.client import RefusedError
from audifi.payments.customers import find_customer
from audifi.payments.models import IS_LIVE, Checkout
from audifi.payments.stripe_objects import Reader
from audifi.payments.syncs import sync_now
from audifi.subscriptions import prices, problems, trials
from audifi.subscriptions.models import LIVE, LIVE_STATUSES, Subscription
from audifi.subscriptions.prices import OfferedRow
from audifi.subscriptions.schemas import SubscriptionStart

if TYPE_CHECKING:
    from audifi.services import Services

LIVE_ID = Statement(
    select(Subscription.provider_id).where(Subscription.user_id == bindparam("owner_id"), literal_column(LIVE))
)
OPEN = Statement(
    select(*checkouts.COLUMNS).where(
        Checkout.user_id == bindparam("owner_id"), Checkout.kind == "subscription", literal_column(IS_LIVE)
    )
)


async def find_page(
    services: "Services", *, user: CheckedUser, body: SubscriptionStart, now: datetime
) -> CheckoutRow | NewCheckout:
    """Return the open page for the same plan, or what a new one is for. Called outside a transaction.

    Raises:
        Problem: `plan.price_changed`, `subscription.exists`, `checkout.in_progress`, 422, and those of `Stripe.call`:
            if Stripe can't be asked whether there is a subscription, nothing is sold.
    """
    offer = await services.database.fetch_one(
        prices.FOR_SALE, OfferedRow, plan=body.plan, interval=body.interval, currency=body.currency
    )
    if offer is None:
        raise problems.not_for_sale()
    if offer.unit_amount != body.expected_amount:
        raise problems.price_changed(offer.unit_amount)
    if await services.database.fetch_value(LIVE_ID, owner_id=user.id) is not None:
        raise problems.subscription_exists()
    await _ask_stripe(services, user.id)
    page = await services.database.fetch_one(OPEN, CheckoutRow, owner_id=user.id)
    if page is not None:
        if page.provider_id is None:
            raise payments.checkout_in_progress()
        if page.price_id == offer.price_id and now < page.expires_at:
            return page
        await _expire(services, page)
    is_trial = body.plan == "PRO" and await trials.is_offered(services, user_id=user.id, email_key=user.email_key)
    return NewCheckout(
        kind="subscription",
        amount=offer.unit_amount,
        currency=body.currency,
        success_path=body.success_path,
        cancel_path=body.cancel_path,
        plan=body.plan,
        interval=body.interval,
        price_id=offer.price_id,
        is_trial=is_trial,
    )


async def start(transaction: Transaction, *, user_id: UUID, wanted: NewCheckout, now: datetime) -> CheckoutRow:
    """Record that a page is wanted; `checkouts.open_page` makes it after the commit.

    Raises:
        Problem: `checkout.in_progress`, another request was first.
    """
    await lock_user(transaction, user_id)
    try:
        return await checkouts.create(transaction, user_id=user_id, wanted=wanted, now=now)
    except asyncpg.UniqueViolationError:
        raise payments.checkout_in_progress() from None


async def _ask_stripe(services: "Services", user_id: UUID) -> None:
    """
    Raises:
        Problem: `subscription.exists`; it is in the database by then.
    """
    customer = await find_customer(services, user_id)
    if customer is None:
        return
    page = await services.stripe.call(
        "subscription_list",
        lambda v1: v1.subscriptions.list_async({"customer": customer, "status": "all", "limit": 100}),
    )
    for each in map(Reader, page.data):
        if each.text("status") in LIVE_STATUSES:
            await sync_now(services, kind="subscription", provider_id=each.text("id"))
            raise problems.subscription_exists()


async def _expire(services: "Services", page: CheckoutRow) -> None:
    """End a page at Stripe.

    Raises:
        Problem: `subscription.exists`, it was just paid.
    """
    session = str(page.provider_id)
    with suppress(RefusedError):  # it isn't open any more
        await services.stripe.call("checkout_expire", lambda v1: v1.checkout.sessions.expire_async(session))
    await sync_now(services, kind="checkout", provider_id=session)
    if (await checkouts.find(services, checkout_id=page.id)).status == "complete":
        raise problems.subscription_exists()
