"""`/api/v1/masters/{master_id}/listings` and `/api/v1/listings`: shares that their holders sell."""

from collections.abc import Iterator
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from audifi.auth.dependencies import CurrentUser, OptionalUser, account_key
from audifi.compliance import problems as compliance
from audifi.core.db.database import Transaction
from audifi.core.http import problems as core
from audifi.core.http.dependencies import DatabaseDep, Now, services_of
from audifi.core.http.openapi import operation_id, raises
from audifi.core.http.rate_limits import rate_limited
from audifi.core.http.routing import StrictRoute
from audifi.core.http.schemas import Cursor, PageLimit
from audifi.core.idempotency.dependencies import Idempotent
from audifi.core.idempotency.service import Claim, StoredResponse
from audifi.ipos.router import ID, MasterId
from audifi.ipos.splits import DEFAULT_ROYALTY, MAX_RESALE_BPS, FirstMinters
from audifi.ledger import problems as ledger
from audifi.ledger.limits import MONEY
from audifi.masters import problems as masters
from audifi.resale import problems, schemas, service
from audifi.resale.models import ListingStatus
from audifi.resale.queries import (
    LISTINGS,
    MINTERS,
    OFFERING,
    OWN_LISTINGS,
    PURCHASES,
    ROYALTY,
    SALE,
    VISIBLE,
    ListingRow,
    MinterRow,
    OfferingRow,
    PurchaseRow,
    SaleRow,
)

router = APIRouter(
    prefix="/api/v1",
    tags=["resale"],
    generate_unique_id_function=operation_id,
    route_class=StrictRoute,
    dependencies=[Depends(rate_limited(MONEY, key=account_key))],
)
public = APIRouter(prefix="/api/v1", tags=["resale"], generate_unique_id_function=operation_id, route_class=StrictRoute)
ListingId = Annotated[UUID, Path(description="The listing's id.", examples=[ID])]


@router.post("/masters/{master_id}/listings", status_code=201, summary="List shares", response_model=schemas.Listing)
@raises(
    core.not_found(),
    masters.suspended(),
    problems.ipo_live(),
    ledger.account_in_debt(),
    ledger.account_frozen(),
    ledger.balance_insufficient(1),
    problems.share_not_held(),
    problems.share_locked_up(problems.EXAMPLE),
    problems.share_listed(),
    problems.limit_reached(),
    *compliance.ALL,
)
async def create_listing(
    user: CurrentUser, now: Now, idempotent: Idempotent, master_id: MasterId, body: schemas.ListingRequest
) -> Response:
    """Offer contiguous shares to others, sold as a whole. They are reserved until then."""

    async def effect(tx: Transaction) -> schemas.Listing:
        listing = await service.create(
            tx,
            seller_id=user.id,
            master_id=master_id,
            serials=body.serials,
            unit_price=body.unit_price,
            expires_at=body.expires_at,
            now=now,
        )
        return schemas.Listing(
            id=listing.id,
            master_id=master_id,
            title=listing.title,
            status="open",
            serials=body.serials,
            quantity=listing.quantity,
            unit_price=body.unit_price,
            total=listing.total,
            currency=listing.currency,
            is_own=True,
            created_at=now,
            expires_at=body.expires_at,
            sold_at=None,
            next_record_at=listing.next_record_at,
        )

    return await idempotent.run(user_id=user.id, body=body, effect=effect)


@public.get("/masters/{master_id}/listings", summary="List a master's listings", openapi_extra={"security": [{}]})
@raises(core.not_found())
async def list_listings(
    request: Request,
    database: DatabaseDep,
    user: OptionalUser,
    now: Now,
    master_id: MasterId,
    sort: Annotated[schemas.Sort, Query(description="`-` sorts descending.", examples=["price"])] = "price",
    limit: PageLimit = 20,
    cursor: Cursor = None,
) -> schemas.ListingPage:
    """Return the shares that can be bought now. `price` is that of one share."""
    offering = await _offering(database, master_id)
    page = await LISTINGS.fetch(
        database,
        services_of(request).cursors,
        sort=sort.replace("price", "unit_price"),
        limit=limit,
        cursor=cursor,
        ipo_id=offering.id,
        now=now,
    )
    data = [_listing(row, user.id if user else None) for row in page.rows]
    return schemas.ListingPage(data=data, next_cursor=page.next_cursor)


@router.get("/listings", summary="List the account's listings")
async def list_own_listings(
    request: Request,
    database: DatabaseDep,
    user: CurrentUser,
    now: Now,
    status: Annotated[
        ListingStatus | None, Query(description="Only listings with this status.", examples=["open"])
    ] = None,
    limit: PageLimit = 20,
    cursor: Cursor = None,
) -> schemas.ListingPage:
    """Return what the account sells or has sold, also what was canceled or has expired, the newest first."""
    page = await OWN_LISTINGS.fetch(
        database,
        services_of(request).cursors,
        sort="-id",
        limit=limit,
        cursor=cursor,
        filters={"status": status},
        owner_id=user.id,
        now=now,
    )
    return schemas.ListingPage(data=[_listing(row, user.id) for row in page.rows], next_cursor=page.next_cursor)


@router.get("/listing-purchases", summary="List the account's purchases of listings")
async def list_listing_purchases(
    request: Request, database: DatabaseDep, user: CurrentUser, limit: PageLimit = 20, cursor: Cursor = None
) -> schemas.ListingPurchasePage:
    """Return what the account has bought of other holders, the newest first."""
    page = await PURCHASES.fetch(
        database,
        services_of(request).cursors,
        sort="-bought_at",
        limit=limit,
        cursor=cursor,
        owner_id=user.id,
    )
    return schemas.ListingPurchasePage(data=[_purchase(row) for row in page.rows], next_cursor=page.next_cursor)


@public.get("/listings/{listing_id}", summary="Get a listing", openapi_extra={"security": [{}]})
@raises(core.not_found())
async def get_listing(database: DatabaseDep, user: OptionalUser, now: Now, listing_id: ListingId) -> schemas.Listing:
    """Return a listing: an open one to everybody, others to their seller and their buyer."""
    viewer_id = user.id if user else None
    row = await database.fetch_one(VISIBLE, ListingRow, listing_id=listing_id, viewer_id=viewer_id, now=now)
    if row is None:
        raise core.not_found()
    return _listing(row, viewer_id)


@router.delete("/listings/{listing_id}", status_code=204, summary="Cancel a listing")
@raises(core.not_found(), problems.not_open())
async def cancel_listing(database: DatabaseDep, user: CurrentUser, now: Now, listing_id: ListingId) -> None:
    """Take the account's listing back, and free its shares."""
    async with database.transaction() as tx:
        await service.cancel(tx, seller_id=user.id, listing_id=listing_id, now=now)


@router.get("/listings/{listing_id}/preview", summary="Preview the purchase of a listing")
@raises(core.not_found())
async def preview_listing(
    database: DatabaseDep, _: CurrentUser, now: Now, listing_id: ListingId
) -> schemas.ListingPreview:
    """Return each party's part of the price. Nothing is reserved."""
    sale = await database.fetch_one(SALE, SaleRow, listing_id=listing_id, now=now)
    if sale is None:
        raise core.not_found()
    minters = await database.fetch_all(MINTERS, MinterRow, master_id=sale.master_id)
    return schemas.ListingPreview(
        listing_id=sale.id,
        status=sale.status,
        total=sale.total,
        currency=sale.currency,
        next_record_at=sale.next_record_at,
        parts=list(_parts(sale, {minter.user_id: minter.display_name for minter in minters})),
    )


@router.post("/listings/{listing_id}/buy", status_code=201, summary="Buy a listing", response_model=schemas.Resale)
@raises(*problems.ALL_OF_BUY)
async def buy_listing(
    user: CurrentUser,
    now: Now,
    idempotent: Idempotent,
    listing_id: ListingId,
    body: schemas.BuyRequest,
) -> Response:
    """Pay and receive the shares at once. Everybody's part is paid in the same transfer."""

    async def call(tx: Transaction, claim: Claim) -> StoredResponse:
        sale = await service.lock_sale(tx, listing_id=listing_id, now=now)
        return await service.buy(tx, claim, sale=sale, buyer_id=user.id, expected_total=body.expected_total, now=now)

    return await idempotent.run_call(user_id=user.id, body=body, call=call)


@public.get("/masters/mover-advantage/config", summary="Get the modes of Mover Advantage")
async def get_mover_advantage_config() -> schemas.MoverAdvantageConfig:
    """Return what the terms of an offering can say about resales."""
    return schemas.MoverAdvantageConfig(
        default=DEFAULT_ROYALTY,
        max_resale_bps=MAX_RESALE_BPS,
        first_minters=schemas.FIRST_MINTERS_BOUNDS,
        tiers=schemas.TIERS_BOUNDS,
    )


@public.get("/masters/{master_id}/mover-advantage", summary="Get a master's Mover Advantage")
@raises(core.not_found())
async def get_mover_advantage(database: DatabaseDep, master_id: MasterId) -> schemas.MoverAdvantage:
    """Return each party's part of a resale. Only names that their owners show are there."""
    offering = await _offering(database, master_id)
    royalty = ROYALTY.validate_json(offering.royalty)
    rates = royalty.minter_bps if isinstance(royalty, FirstMinters) else []
    rows = await database.fetch_all(MINTERS, MinterRow, master_id=master_id)
    return schemas.MoverAdvantage(
        royalty=royalty,
        royalty_to_holders_bps=offering.royalty_to_holders_bps,
        resale_fee_bps=offering.resale_fee_bps,
        minters=[
            schemas.Minter(rank=row.rank, bps=rates[row.rank - 1], display_name=row.display_name)
            for row in rows
            if row.rank <= len(rates)
        ],
    )


async def _offering(database: DatabaseDep, master_id: UUID) -> OfferingRow:
    offering = await database.fetch_one(OFFERING, OfferingRow, master_id=master_id)
    if offering is None or offering.status in {"draft", "canceled"}:
        raise core.not_found()
    return offering


def _listing(row: ListingRow, user_id: UUID | None) -> schemas.Listing:
    return schemas.Listing(
        id=row.id,
        master_id=row.master_id,
        title=row.title,
        status=row.status,
        serials=row.first_and_last,
        quantity=row.quantity,
        unit_price=row.unit_price,
        total=row.total,
        currency=row.currency,
        is_own=row.seller_id == user_id,
        created_at=row.created_at,
        expires_at=row.expires_at,
        sold_at=row.closed_at if row.status == "sold" else None,
        next_record_at=row.next_record_at,
    )


def _purchase(row: PurchaseRow) -> schemas.ListingPurchase:
    return schemas.ListingPurchase(
        listing_id=row.id,
        master_id=row.master_id,
        title=row.title,
        serials=row.first_and_last,
        quantity=row.quantity,
        unit_price=row.unit_price,
        total=row.total,
        currency=row.currency,
        bought_at=row.bought_at,
    )


def _parts(sale: SaleRow, names: dict[UUID, str | None]) -> Iterator[schemas.Part]:
    split = sale.split()
    yield schemas.Part(role="seller", display_name=None, amount=split.seller)
    yield schemas.Part(role="artist", display_name=None, amount=split.artist)
    if sale.royalty_to_holders_bps:
        yield schemas.Part(role="holders", display_name=None, amount=split.holders)
    for user_id, amount in split.minters:
        yield schemas.Part(role="minter", display_name=names.get(user_id), amount=amount)
    yield schemas.Part(role="platform", display_name=None, amount=split.platform)
