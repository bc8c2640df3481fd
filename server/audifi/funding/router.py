"""Deposits and payouts, below `/api/v1/ledger`."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from audifi.auth import problems as auth_problems
from audifi.auth.dependencies import CurrentUser, RecentlyAuthenticatedUser, account_key
from audifi.auth.session_checks import CheckedUser
from audifi.compliance import problems as compliance
from audifi.core.db.database import Transaction
from audifi.core.http.dependencies import Now, services_of
from audifi.core.http.openapi import operation_id, raises
from audifi.core.http.problems import not_found
from audifi.core.http.rate_limits import rate_limited
from audifi.core.http.routing import StrictRoute
from audifi.core.http.schemas import Cursor, PageLimit
from audifi.core.idempotency.dependencies import Idempotent
from audifi.funding import deposits, payouts, problems, queries, schemas
from audifi.funding.deposits import Attribution, DepositRow, Receipt
from audifi.funding.payouts import PayoutRow
from audifi.ledger import limits
from audifi.ledger import problems as ledger_problems

router = APIRouter(
    prefix="/api/v1/ledger",
    tags=["funding"],
    generate_unique_id_function=operation_id,
    route_class=StrictRoute,
    dependencies=[Depends(rate_limited(limits.MONEY, key=account_key))],
)

EXAMPLE_ID = "01930b5a-7c1e-7d3f-8a52-6f0e4b9c2d17"
UserId = Annotated[UUID | None, Query(description="Another user's, for admins.", examples=[EXAMPLE_ID])]
PayoutId = Annotated[UUID, Path(description="From the list.", examples=[EXAMPLE_ID])]


@router.post("/deposits", status_code=201, summary="Deposit money", response_model=schemas.Deposit)
@raises(
    auth_problems.insufficient_role(("admin",)),
    problems.deposit_operator_only(),
    problems.deposit_limit_exceeded(limit=1_000_000, used=990_000),
    problems.reference_reused(),
    ledger_problems.balance_limit_exceeded(),
)
async def create_deposit(
    request: Request, user: CurrentUser, now: Now, idempotent: Idempotent, body: schemas.DepositCreate
) -> Response:
    """Book a receipt of the bank for an account, as an admin; or, in development alone, an own deposit.

    An own one is at most 10,000.00 a day. What the account owes is paid first.
    """
    settings = services_of(request).settings
    _check_currency(body.currency, settings.currencies)
    if body.user_id is not None and user.role != "admin":
        raise auth_problems.insufficient_role(("admin",))
    if body.user_id is None and settings.funding != "development":
        raise problems.deposit_operator_only()

    async def effect(transaction: Transaction) -> schemas.Deposit:
        if body.user_id is None or body.reference is None:
            row = await deposits.book_own(
                transaction, user_id=user.id, currency=body.currency, amount=body.amount, now=now
            )
        else:
            receipt = Receipt(
                provider="operator",
                reference=body.reference,
                user_id=body.user_id,
                currency=body.currency,
                amount=body.amount,
                occurred_at=body.received_at,
            )
            by = Attribution(actor_id=user.id, reason=body.reason)
            row = await deposits.book(transaction, receipt=receipt, now=now, by=by)
        return _deposit(row)

    return await idempotent.run(user_id=user.id, body=body, effect=effect)


@router.get("/deposits", summary="List deposits")
@raises(not_found())
async def list_deposits(
    request: Request, user: CurrentUser, user_id: UserId = None, limit: PageLimit = 20, cursor: Cursor = None
) -> schemas.DepositPage:
    """Return the deposits of the user, newest first."""
    services = services_of(request)
    page = await queries.DEPOSITS.fetch(
        services.database, services.cursors, sort="-id", limit=limit, cursor=cursor, owner_id=_owner(user, user_id)
    )
    return schemas.DepositPage(data=[_deposit(row) for row in page.rows], next_cursor=page.next_cursor)


@router.post("/payouts", status_code=201, summary="Request a payout", response_model=schemas.Payout)
@raises(
    ledger_problems.account_in_debt(),
    *compliance.ALL,
    ledger_problems.balance_insufficient(1250),
    problems.payout_limit_exceeded(payouts.MAX_OPEN),
    problems.payout_account_incomplete(["external_account"]),
    problems.recent_deposits(5000),
)
async def create_payout(
    request: Request, user: RecentlyAuthenticatedUser, now: Now, idempotent: Idempotent, body: schemas.PayoutCreate
) -> Response:
    """
    Hold an amount of at least 10.00, and ask for its payout. At most 5 are open at a time.

    It is sent within a minute, by the provider or, where there is none, by an operator, and can be canceled until
    then. `GET /api/v1/payments/connect` says whether the account can have payouts.
    """
    services = services_of(request)
    _check_currency(body.currency, services.settings.currencies)

    async def effect(transaction: Transaction) -> schemas.Payout:
        row = await payouts.request(
            transaction,
            user_id=user.id,
            provider=services.payout_provider,
            currency=body.currency,
            amount=body.amount,
            now=now,
        )
        return _payout(row)

    return await idempotent.run(user_id=user.id, body=body, effect=effect)


@router.get("/payouts", summary="List payouts")
@raises(not_found())
async def list_payouts(
    request: Request, user: CurrentUser, user_id: UserId = None, limit: PageLimit = 20, cursor: Cursor = None
) -> schemas.PayoutPage:
    """Return the payouts of the user, newest first."""
    services = services_of(request)
    page = await queries.PAYOUTS.fetch(
        services.database, services.cursors, sort="-id", limit=limit, cursor=cursor, owner_id=_owner(user, user_id)
    )
    return schemas.PayoutPage(data=[_payout(row) for row in page.rows], next_cursor=page.next_cursor)


@router.post("/payouts/{payout_id}/cancel", summary="Cancel a payout")
@raises(problems.payout_not_found(), problems.payout_status_conflict("submitted"))
async def cancel_payout(request: Request, user: CurrentUser, now: Now, payout_id: PayoutId) -> schemas.Payout:
    """Cancel a payout that wasn't submitted. The balance has the amount again, and pays what the account owes."""

    async def cancel(transaction: Transaction) -> PayoutRow:
        return await payouts.cancel(transaction, payout_id=payout_id, user_id=user.id, now=now)

    return _payout(await services_of(request).database.run(cancel))


def _check_currency(currency: str, currencies: tuple[str, ...]) -> None:
    if currency not in currencies:
        raise ledger_problems.currency_unsupported()


def _owner(user: CheckedUser, user_id: UUID | None) -> UUID:
    """
    Raises:
        Problem: 404 for another user's, unless the user is an admin.
    """
    if user_id not in {None, user.id} and user.role != "admin":
        raise not_found()
    return user_id or user.id


def _deposit(row: DepositRow) -> schemas.Deposit:
    return schemas.Deposit(
        id=row.id,
        status=row.status,
        currency=row.currency,
        amount=row.amount,
        disputed=row.disputed,
        reference=row.provider_ref,
        created_at=row.created_at,
    )


def _payout(row: PayoutRow) -> schemas.Payout:
    return schemas.Payout(
        id=row.id,
        status=row.status,
        currency=row.currency,
        amount=row.amount,
        created_at=row.created_at,
        submitted_at=row.submitted_at,
        ended_at=row.ended_at,
    )
