"""`/api/v1/masters/…`: holders, holdings, and each share's history."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request

from audifi.auth.dependencies import CurrentUser
from audifi.core.http import problems as core
from audifi.core.http.dependencies import DatabaseDep, Now, services_of
from audifi.core.http.openapi import operation_id, raises
from audifi.core.http.routing import StrictRoute
from audifi.core.http.schemas import Cursor, PageLimit
from audifi.ipos import queries, schemas
from audifi.ipos.models import SERIALS_PER_IPO
from audifi.ipos.queries import CURRENT, HoldingRow, IpoRow, LotRow, MovementRow, PurchaseRow, ShareRow
from audifi.ipos.router import ID, MasterId

router = APIRouter(
    prefix="/api/v1/masters", tags=["ipos"], generate_unique_id_function=operation_id, route_class=StrictRoute
)
Serial = Annotated[int, Path(ge=1, le=schemas.MAX_SHARES, description="The share's serial.", examples=[7])]


@router.get("/holdings", summary="List the account's shares")
async def list_holdings(
    request: Request, database: DatabaseDep, user: CurrentUser, limit: PageLimit = 20, cursor: Cursor = None
) -> schemas.HoldingPage:
    """Return the masters of which the account holds shares, with the shares' serials."""
    page = await queries.HOLDINGS.fetch(
        database, services_of(request).cursors, sort="account_id", limit=limit, cursor=cursor, owner_id=user.id
    )
    lots = await database.fetch_all(queries.LOTS, LotRow, account_ids=[row.account_id for row in page.rows])
    serials: dict[UUID, list[tuple[int, int]]] = {}
    for lot in lots:
        first = lot.serials.lower % SERIALS_PER_IPO
        serials.setdefault(lot.account_id, []).append((first, first + lot.serials.upper - lot.serials.lower - 1))
    return schemas.HoldingPage(
        data=[_holding(row, serials.get(row.account_id, [])) for row in page.rows], next_cursor=page.next_cursor
    )


@router.get("/purchases", summary="List the account's purchases")
async def list_purchases(
    request: Request,
    database: DatabaseDep,
    user: CurrentUser,
    now: Now,
    master_id: Annotated[UUID | None, Query(description="Only those of this master.", examples=[ID])] = None,
    limit: PageLimit = 20,
    cursor: Cursor = None,
) -> schemas.PurchasePage:
    """Return what the account has bought in offerings, the newest first."""
    page = await queries.PURCHASES.fetch(
        database,
        services_of(request).cursors,
        sort="-id",
        limit=limit,
        cursor=cursor,
        filters={"master_id": master_id},
        owner_id=user.id,
    )
    data = [_purchase(row, row.withdrawable_until(now)) for row in page.rows]
    return schemas.PurchasePage(data=data, next_cursor=page.next_cursor)


@router.put("/holdings/visibility", summary="Show or hide the account's name")
async def set_holder_visibility(
    database: DatabaseDep, user: CurrentUser, body: schemas.Visibility
) -> schemas.Visibility:
    """Say whether the account's name appears among the holders. It doesn't, before this is called."""
    await database.execute(queries.SET_VISIBILITY, user_id=user.id, is_public=body.is_public)
    return body


@router.get("/{master_id}/holders", summary="List a master's holders")
@raises(core.not_found())
async def list_holders(
    request: Request, database: DatabaseDep, master_id: MasterId, limit: PageLimit = 20, cursor: Cursor = None
) -> schemas.HolderPage:
    """Return the accounts that hold shares, in no order. Only names that their owners show are there."""
    ipo = await _launched(database, master_id)
    page = await queries.HOLDERS.fetch(
        database, services_of(request).cursors, sort="account_id", limit=limit, cursor=cursor, ipo_id=ipo.id
    )
    data = [schemas.Holder(display_name=row.display_name, shares=row.shares) for row in page.rows]
    return schemas.HolderPage(data=data, next_cursor=page.next_cursor)


@router.get("/{master_id}/shares/{serial}", summary="Get a share's history")
@raises(core.not_found())
async def get_share(database: DatabaseDep, master_id: MasterId, serial: Serial) -> schemas.Provenance:
    """Return where a share has been, the newest movement first."""
    ipo = await _launched(database, master_id)
    number = ipo.first_number + serial
    share = await database.fetch_one(queries.SHARE, ShareRow, number=number)
    if share is None:
        raise core.not_found()
    movements = await database.fetch_all(queries.MOVEMENTS, MovementRow, number=number)
    return schemas.Provenance(serial=serial, holder=share.display_name, movements=[_movement(row) for row in movements])


async def _launched(database: DatabaseDep, master_id: UUID) -> IpoRow:
    ipo = await database.fetch_one(CURRENT, IpoRow, master_id=master_id)
    if ipo is None or ipo.status in {"draft", "canceled"}:
        raise core.not_found()
    return ipo


def _holding(row: HoldingRow, serials: list[tuple[int, int]]) -> schemas.Holding:
    return schemas.Holding(
        master_id=row.master_id, title=row.title, shares=row.shares, serials=serials[: queries.MAX_RANGES]
    )


def _purchase(row: PurchaseRow, withdrawable_until: datetime | None) -> schemas.PurchaseRecord:
    first = row.serials.lower % SERIALS_PER_IPO
    values = {name: getattr(row, name) for name in schemas.PurchaseRecord.model_fields if hasattr(row, name)}
    return schemas.PurchaseRecord.model_validate(
        values
        | {
            "purchase_id": row.id,
            "serials": [(first, first + row.quantity - 1)],
            "withdrawable_until": withdrawable_until,
        }
    )


def _movement(row: MovementRow) -> schemas.Movement:
    return schemas.Movement(
        reason=row.reason,
        price=row.price // (row.serials.upper - row.serials.lower) if row.price else None,
        at=row.at,
        transfer_id=row.transfer_id,
    )
