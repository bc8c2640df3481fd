"""Refunds of deposits, and the accounts to which payouts go; below `/api/v1/payments`."""

import json
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Request, Response

from audifi.auth import problems as auth_problems
from audifi.auth.dependencies import CurrentUser, RecentlyAuthenticatedUser
from audifi.core.db.database import Transaction
from audifi.core.http.dependencies import Now, services_of
from audifi.core.http.openapi import operation_id, raises
from audifi.core.http.routing import StrictRoute
from audifi.core.idempotency.dependencies import Idempotent
from audifi.ledger import problems as ledger_problems
from audifi.payments import connect, problems, refunds, schemas
from audifi.payments.connect import PayoutAccountRow
from audifi.payments.router import EXAMPLE_ID, OF_STRIPE, PAGES

router = APIRouter(
    prefix="/api/v1/payments",
    tags=["payments"],
    generate_unique_id_function=operation_id,
    route_class=StrictRoute,
)

DepositId = Annotated[UUID, Path(description="From the list of deposits.", examples=[EXAMPLE_ID])]


@router.post(
    "/deposits/{deposit_id}/refund",
    status_code=201,
    summary="Refund a deposit",
    response_model=schemas.Refund,
    dependencies=[PAGES],
)
@raises(
    *OF_STRIPE,
    auth_problems.insufficient_role(("admin",)),
    problems.deposit_not_found(),
    problems.deposit_not_refundable(),
    problems.deposit_disputed(),
    problems.refund_exceeded(2500),
    ledger_problems.account_in_debt(),
    ledger_problems.account_frozen(),
    ledger_problems.balance_insufficient(1250),
)
async def refund_deposit(
    request: Request,
    user: RecentlyAuthenticatedUser,
    now: Now,
    idempotent: Idempotent,
    deposit_id: DepositId,
    body: schemas.RefundCreate,
) -> Response:
    """Give a deposit, or a part of it, back to the card, within 90 days. The amount is held until the bank has it.

    With a reason, an admin refunds another account's.
    """
    services = services_of(request)
    if not services.stripe.is_configured:
        raise problems.not_configured()
    if body.reason is not None and user.role != "admin":
        raise auth_problems.insufficient_role(("admin",))

    async def effect(transaction: Transaction) -> schemas.RefundStarted:
        refund_id = await refunds.request(
            transaction,
            deposit_id=deposit_id,
            owner_id=None if body.reason is not None else user.id,
            actor_id=user.id,
            amount=body.amount,
            reason=body.reason,
            now=now,
        )
        return schemas.RefundStarted(refund_id=refund_id)

    stored = await idempotent.run(user_id=user.id, body=body, effect=effect)
    refund = await refunds.send(services, refund_id=UUID(json.loads(bytes(stored.body))["refund_id"]))
    answer = schemas.Refund(
        refund_id=refund.id,
        deposit_id=refund.deposit_id,
        status=refund.status,
        amount=refund.amount,
        currency=refund.currency,
        created_at=refund.created_at,
    )
    headers = {name: value for name, value in stored.headers.items() if name != "content-length"}
    return Response(answer.model_dump_json(), stored.status_code, headers, stored.media_type)


@router.post("/connect", status_code=201, summary="Open the page of the payout account", dependencies=[PAGES])
@raises(*OF_STRIPE, problems.payout_country_fixed("DE"), problems.payout_account_closed())
async def open_onboarding(
    request: Request, user: RecentlyAuthenticatedUser, body: schemas.OnboardingOpen
) -> schemas.Onboarding:
    """Return a page of Stripe's that asks for what payouts need: the person's name and bank. Good for minutes, once.

    `GET` says whether something is missing.
    """
    opened = await connect.onboard(
        services_of(request),
        user_id=user.id,
        country=body.country,
        return_path=body.return_path,
        refresh_path=body.refresh_path,
    )
    return schemas.Onboarding(url=opened.url, expires_at=opened.expires_at)


@router.get("/connect", summary="Get the payout account")
@raises(*OF_STRIPE)
async def get_payout_account(request: Request, user: CurrentUser) -> schemas.PayoutAccount:
    """Return what Stripe says of it, now."""
    services = services_of(request)
    row: PayoutAccountRow | None = await connect.refresh(services, user_id=user.id)
    return schemas.PayoutAccount(
        country=row.country if row else None,
        payouts_enabled=row is not None and row.payouts_enabled,
        requirements=row.requirements_due if row else ["account"],
    )
