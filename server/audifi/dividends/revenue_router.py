"""`/api/v1/dividends/revenue`: what an artist's masters earn, from its record to its distribution."""

from collections.abc import Iterable
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from audifi.auth import problems as auth
from audifi.auth.dependencies import CurrentUser, account_key
from audifi.auth.session_checks import CheckedUser
from audifi.core.db.database import Database, Transaction
from audifi.core.http import problems as core
from audifi.core.http.dependencies import DatabaseDep, Now, services_of
from audifi.core.http.openapi import operation_id, raises
from audifi.core.http.rate_limits import rate_limited
from audifi.core.http.routing import StrictRoute
from audifi.core.http.schemas import Cursor, PageLimit
from audifi.core.idempotency.dependencies import Idempotent
from audifi.dividends import distributions, limits, problems, queries, revenue, schemas
from audifi.dividends.models import RevenueStatus
from audifi.dividends.queries import PartsTotal, RevenueRow, RevenueTotal
from audifi.dividends.revenue import Actor, NewRevenue, Receipt
from audifi.dividends.router import ID, MasterId
from audifi.ipos.queries import CURRENT, IpoRow
from audifi.ledger import problems as ledger
from audifi.ledger.limits import MONEY
from audifi.masters import problems as masters

router = APIRouter(
    prefix="/api/v1/dividends",
    tags=["dividends"],
    generate_unique_id_function=operation_id,
    route_class=StrictRoute,
    dependencies=[
        Depends(rate_limited(MONEY, key=account_key)),
        Depends(rate_limited(limits.REVENUE, key=account_key)),
    ],
)
EventId = Annotated[UUID, Path(description="The id of the revenue.", examples=[ID])]


@router.post("/revenue", status_code=201, summary="Record revenue", response_model=schemas.Revenue)
@raises(core.not_found(), problems.duplicate())
async def record_revenue(
    request: Request, user: CurrentUser, now: Now, idempotent: Idempotent, body: schemas.RevenueCreate
) -> Response:
    """Record what an offered master has earned, as its artist or an admin. No money moves yet."""
    if body.currency not in services_of(request).settings.currencies:
        raise ledger.currency_unsupported()

    async def effect(tx: Transaction) -> schemas.Revenue:
        ipo = await _own_offering(tx, user, body.master_id)
        values = body.model_dump(exclude={"master_id"})
        event_id = await revenue.record(tx, NewRevenue(ipo_id=ipo.id, recorded_by=user.id, **values), now=now)
        return await _revenue(tx, event_id)

    return await idempotent.run(user_id=user.id, body=body, effect=effect)


@router.get("/revenue/{master_id}", summary="List a master's revenue")
@raises(core.not_found())
async def list_revenue(
    request: Request,
    database: DatabaseDep,
    user: CurrentUser,
    master_id: MasterId,
    status: Annotated[RevenueStatus | None, Query(description="Only these.", examples=["recorded"])] = None,
    limit: PageLimit = 20,
    cursor: Cursor = None,
) -> schemas.RevenuePage:
    """Return the revenue of a master's offering, newest first, to its artist and admins."""
    ipo = await _own_offering(database, user, master_id)
    page = await queries.REVENUE.fetch(
        database,
        services_of(request).cursors,
        sort="-id",
        limit=limit,
        cursor=cursor,
        filters={"status": status},
        ipo_id=ipo.id,
    )
    data = [schemas.Revenue.model_validate(row, from_attributes=True) for row in page.rows]
    return schemas.RevenuePage(data=data, next_cursor=page.next_cursor)


@router.get("/revenue/{master_id}/summary", summary="Sum up a master's revenue")
@raises(core.not_found())
async def get_revenue_summary(database: DatabaseDep, user: CurrentUser, master_id: MasterId) -> schemas.RevenueSummary:
    """Return a master's revenue by currency, and who got it, to its artist and admins."""
    ipo = await _own_offering(database, user, master_id)
    totals = await database.fetch_all(queries.REVENUE_OF_IPO, RevenueTotal, ipo_id=ipo.id)
    parts = await database.fetch_all(queries.PARTS_OF_IPO, PartsTotal, ipo_id=ipo.id)
    return _summary(totals, parts)


@router.get("/artist-summary", summary="Sum up an artist's revenue")
async def get_artist_summary(database: DatabaseDep, user: CurrentUser) -> schemas.RevenueSummary:
    """Return the revenue of all of the account's masters by currency, and who got it."""
    totals = await database.fetch_all(queries.REVENUE_OF_ARTIST, RevenueTotal, artist_id=user.id)
    parts = await database.fetch_all(queries.PARTS_OF_ARTIST, PartsTotal, artist_id=user.id)
    return _summary(totals, parts)


@router.post(
    "/revenue/{event_id}/process",
    status_code=201,
    summary="Fund revenue and declare its distribution",
    response_model=schemas.Distribution,
)
@raises(
    auth.insufficient_role(("admin",)),
    core.not_found(),
    masters.suspended(),
    problems.offering_live(),
    problems.revenue_voided(),
    problems.revenue_declared(),
    problems.revenue_distributed(),
    problems.nothing_to_distribute(),
    ledger.balance_insufficient(1250),
    ledger.account_frozen(),
)
async def process_revenue(
    request: Request,
    user: CurrentUser,
    now: Now,
    idempotent: Idempotent,
    event_id: EventId,
    body: schemas.RevenueProcess,
) -> Response:
    """Pay the revenue from the artist's balance or, as an admin, from a receipt, and declare when it is shared out.

    All funded revenue of the offering in its currency is part of the distribution.
    """
    notice = services_of(request).settings.declare_notice

    async def effect(tx: Transaction) -> schemas.Distribution:
        row = await distributions.process(
            tx,
            event_id=event_id,
            by=_actor(user),
            receipt=Receipt(**body.receipt.model_dump()) if body.receipt else None,
            record_at=body.record_at,
            notice=notice,
            now=now,
        )
        return schemas.Distribution.model_validate(row, from_attributes=True)

    return await idempotent.run(user_id=user.id, body=body, effect=effect)


@router.post("/revenue/{event_id}/void", summary="Void revenue", response_model=schemas.Revenue)
@raises(
    auth.insufficient_role(("admin",)),
    core.not_found(),
    problems.revenue_voided(),
    problems.revenue_declared(),
    problems.revenue_distributed(),
    problems.revenue_not_voidable(),
)
async def void_revenue(user: CurrentUser, now: Now, idempotent: Idempotent, event_id: EventId) -> Response:
    """Void revenue of which no distribution is declared. Its money, if it was funded, goes back."""

    async def effect(tx: Transaction) -> schemas.Revenue:
        await revenue.void(tx, event_id=event_id, by=_actor(user), now=now)
        return await _revenue(tx, event_id)

    return await idempotent.run(user_id=user.id, body=None, effect=effect, status=200)


async def _own_offering(reader: Database | Transaction, user: CheckedUser, master_id: UUID) -> IpoRow:
    """
    Raises:
        Problem: 404, unless the user is the artist of an offered master, or an admin.
    """
    ipo = await reader.fetch_one(CURRENT, IpoRow, master_id=master_id)
    if ipo is None or ipo.status in {"draft", "canceled"} or (ipo.artist_id != user.id and user.role != "admin"):
        raise core.not_found()
    return ipo


async def _revenue(tx: Transaction, event_id: UUID) -> schemas.Revenue:
    row = await tx.fetch_one(queries.REVENUE_EVENT, RevenueRow, event_id=event_id)
    return schemas.Revenue.model_validate(row, from_attributes=True)


def _actor(user: CheckedUser) -> Actor:
    return Actor(user_id=user.id, is_admin=user.role == "admin")


def _summary(totals: Iterable[RevenueTotal], parts: Iterable[PartsTotal]) -> schemas.RevenueSummary:
    by_currency = {row.currency: row for row in parts}
    return schemas.RevenueSummary(
        data=[
            schemas.RevenueSummaryEntry(
                currency=row.currency,
                recorded=row.recorded,
                funded=row.funded,
                distributed=row.distributed,
                platform=part.platform,
                artist=part.artist,
                holders=part.holders,
            )
            for row in totals
            for part in (by_currency.get(row.currency, PartsTotal(row.currency, 0, 0, 0)),)
        ]
    )
