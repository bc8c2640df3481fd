"""What operators look at, below `/api/v1/payments`."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request

from audifi.auth.dependencies import require_role
from audifi.auth.session_checks import CheckedUser
from audifi.core.http.dependencies import DatabaseDep, services_of
from audifi.core.http.openapi import operation_id, raises
from audifi.core.http.routing import StrictRoute
from audifi.core.http.schemas import Cursor, PageLimit
from audifi.payments import balances, queries, schemas
from audifi.payments.models import EventStatus
from audifi.payments.router import OF_STRIPE

router = APIRouter(
    prefix="/api/v1/payments",
    tags=["payments"],
    generate_unique_id_function=operation_id,
    route_class=StrictRoute,
)
Admin = Annotated[CheckedUser, Depends(require_role("admin"))]


@router.get("/events", summary="List events of the payment provider")
async def list_events(
    request: Request,
    database: DatabaseDep,
    _: Admin,
    status: Annotated[EventStatus | None, Query(description="Only with it.", examples=["failed"])] = None,
    limit: PageLimit = 20,
    cursor: Cursor = None,
) -> schemas.PaymentEventPage:
    """Return the events that arrived, newest first, for admins. A failed one is tried again every 15 minutes."""
    page = await queries.EVENTS.fetch(
        database,
        services_of(request).cursors,
        sort="-received_at",
        limit=limit,
        cursor=cursor,
        filters={"status": status},
    )
    data = [schemas.PaymentEvent.model_validate(row, from_attributes=True) for row in page.rows]
    return schemas.PaymentEventPage(data=data, next_cursor=page.next_cursor)


@router.get("/reconciliation", summary="Compare the ledger with the payment provider")
@raises(*OF_STRIPE)
async def get_reconciliation(request: Request, _: Admin) -> schemas.Reconciliation:
    """Return what Stripe holds and what it should, in each currency, for admins. Fees are booked each night."""
    compared = await balances.compare(services_of(request))
    return schemas.Reconciliation(
        currencies=[schemas.Comparison.model_validate(each, from_attributes=True) for each in compared]
    )
