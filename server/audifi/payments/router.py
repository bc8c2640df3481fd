"""Payments, below `/api/v1/payments`."""

import json
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Request, Response

from audifi.auth.dependencies import CurrentUser, account_key
from audifi.core.db.database import Transaction
from audifi.core.http.dependencies import Now, services_of
from audifi.core.http.openapi import operation_id, raises
from audifi.core.http.rate_limits import rate_limited
from audifi.core.http.routing import StrictRoute
from audifi.core.idempotency.dependencies import Idempotent
from audifi.ledger.problems import currency_unsupported
from audifi.payments import checkouts, limits, portal, problems, schemas, starts, syncs
from audifi.payments.checkouts import CheckoutRow

router = APIRouter(
    prefix="/api/v1/payments",
    tags=["payments"],
    generate_unique_id_function=operation_id,
    route_class=StrictRoute,
)

EXAMPLE_ID = "01930b5a-7c1e-7d3f-8a52-6f0e4b9c2d17"
CheckoutId = Annotated[UUID, Path(description="From the checkout.", examples=[EXAMPLE_ID])]
PAGES = Depends(rate_limited(limits.PAGES, key=account_key))
SYNCS = Depends(rate_limited(limits.SYNCS, key=account_key))
OF_STRIPE = (problems.not_configured(), problems.provider_unavailable())


@router.post(
    "/checkout",
    status_code=201,
    summary="Open a page to deposit money",
    response_model=schemas.Checkout,
    dependencies=[PAGES],
)
@raises(
    *OF_STRIPE,
    problems.checkout_failed(),
    problems.deposit_limit_exceeded(limit=2_000_000, used=1_990_000),
    problems.too_many_checkouts(limits.MAX_OPEN_DEPOSITS),
    currency_unsupported(),
)
async def create_deposit_checkout(
    request: Request, user: CurrentUser, now: Now, idempotent: Idempotent, body: schemas.DepositCheckout
) -> Response:
    """Return a page of Stripe's on which the amount is paid. The balance has it once the payment has arrived.

    At most 20,000.00 a day, and 5 open pages. A retry with the same key returns the same page.
    """
    services = services_of(request)
    if not services.stripe.is_configured:
        raise problems.not_configured()
    if body.currency not in services.settings.currencies:
        raise currency_unsupported()

    async def effect(transaction: Transaction) -> schemas.CheckoutStarted:
        row = await starts.start_deposit(transaction, user_id=user.id, wanted=body, now=now)
        return schemas.CheckoutStarted(checkout_id=row.id)

    stored = await idempotent.run(user_id=user.id, body=body, effect=effect)
    return await answer(request, stored)


async def answer(request: Request, stored: Response) -> Response:
    """Return the page of the checkout that a key's request has started. The first answer is made of its row, as a
    retry's is: the server may stop before Stripe has answered."""
    checkout_id = UUID(json.loads(bytes(stored.body))["checkout_id"])
    checkout = await checkouts.open_page(services_of(request), checkout_id=checkout_id)
    headers = {name: value for name, value in stored.headers.items() if name != "content-length"}
    return Response(_checkout(checkout).model_dump_json(), stored.status_code, headers, stored.media_type)


@router.post(
    "/checkouts/{checkout_id}/sync", summary="Fetch the status of a checkout from Stripe", dependencies=[SYNCS]
)
@raises(*OF_STRIPE, problems.checkout_not_found())
async def sync_checkout(request: Request, user: CurrentUser, checkout_id: CheckoutId) -> schemas.Checkout:
    """Ask Stripe, and write what it answers, as an event would: for the page that Stripe leads back to.

    So nobody pays twice because an event is late. It may be called any number of times.
    """
    services = services_of(request)
    checkout = await checkouts.find(services, checkout_id=checkout_id, owner_id=user.id)
    if checkout.provider_id is not None:
        session = await syncs.sync_now(services, kind="checkout", provider_id=checkout.provider_id)
        if session is not None and session.subscription is not None:
            await syncs.sync_now(services, kind="subscription", provider_id=session.subscription)
        checkout = await checkouts.find(services, checkout_id=checkout_id)
    return _checkout(checkout)


@router.post("/portal", status_code=201, summary="Open the page of cards and receipts", dependencies=[PAGES])
@raises(*OF_STRIPE)
async def open_portal(request: Request, user: CurrentUser, body: schemas.PortalOpen) -> schemas.Portal:
    """Return a page of Stripe's on which the account changes its cards, pays open invoices and sees receipts."""
    services = services_of(request)
    return schemas.Portal(url=await portal.open_portal(services, user_id=user.id, return_path=body.return_path))


def _checkout(row: CheckoutRow) -> schemas.Checkout:
    return schemas.Checkout(checkout_id=row.id, status=row.status, url=row.url, expires_at=row.expires_at)
