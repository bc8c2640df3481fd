"""`/api/v1/masters/{master_id}/ipo`: an offering, from its draft to its end."""

import json
from datetime import datetime
from functools import partial
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from audifi.auth.dependencies import CurrentUser, OptionalUser, RecentlyAuthenticatedUser, account_key, require_role
from audifi.auth.session_checks import CheckedUser
from audifi.compliance import problems as compliance
from audifi.compliance import service as rules
from audifi.core.db.database import Database, Transaction
from audifi.core.http import problems as core
from audifi.core.http.conditional import ExpectedVersion, set_etag
from audifi.core.http.dependencies import DatabaseDep, Now, services_of
from audifi.core.http.openapi import operation_id, raises
from audifi.core.http.rate_limits import rate_limited
from audifi.core.http.routing import StrictRoute
from audifi.core.idempotency.dependencies import Idempotent
from audifi.core.idempotency.service import Claim, StoredResponse
from audifi.ipos import closing, offers, problems, purchases, schemas
from audifi.ipos.events import Actor
from audifi.ipos.jobs import REFUND
from audifi.ipos.offers import Rates
from audifi.ipos.queries import BUYER, CURRENT, BuyerRow, IpoRow, shown_status
from audifi.ledger.limits import MONEY
from audifi.masters import problems as masters
from audifi.subscriptions import problems as plans

MAX_ALLOWLIST_BYTES = 16_000_000
ID = "01930b5a-7c1e-7d3f-8a52-6f0e4b9c2d17"
router = APIRouter(
    prefix="/api/v1/masters/{master_id}/ipo",
    tags=["ipos"],
    generate_unique_id_function=operation_id,
    route_class=StrictRoute,
    dependencies=[Depends(rate_limited(MONEY, key=account_key))],
)
public = APIRouter(
    prefix="/api/v1/masters/{master_id}/ipo",
    tags=["ipos"],
    generate_unique_id_function=operation_id,
    route_class=StrictRoute,
)
MasterId = Annotated[UUID, Path(description="The master's id.", examples=[ID])]
PurchaseId = Annotated[UUID, Path(description="The purchase's id.", examples=[ID])]
ReservationId = Annotated[UUID, Path(description="The reservation's id.", examples=[ID])]
Admin = Annotated[CheckedUser, Depends(require_role("admin"))]


@public.get("", summary="Get an offering", openapi_extra={"security": [{}]})
@raises(core.not_found())
async def get_ipo(
    response: Response, database: DatabaseDep, now: Now, user: OptionalUser, master_id: MasterId
) -> schemas.Ipo:
    """Return the master's newest offering and its progress. Only its artist and admins see a draft."""
    row = await _visible(database, user, master_id)
    set_etag(response, row.version)
    return _ipo(row, now)


@router.post("", status_code=201, summary="Draft an offering", response_model=schemas.Ipo)
@raises(core.not_found(), plans.feature_required("royalty_terms"), problems.exists())
async def create_ipo(
    request: Request, user: CurrentUser, now: Now, idempotent: Idempotent, master_id: MasterId, body: schemas.IpoTerms
) -> Response:
    """Draft the offering of a master's shares. Nothing is sold before the launch."""

    async def effect(tx: Transaction) -> schemas.Ipo:
        row = await offers.create(tx, artist_id=user.id, master_id=master_id, body=body, rates=_rates(request), now=now)
        return _ipo(row, now)

    return await idempotent.run(user_id=user.id, body=body, effect=effect)


@router.patch("", summary="Change a draft")
@raises(core.not_found(), plans.feature_required("royalty_terms"), problems.not_editable())
async def change_ipo(
    request: Request,
    response: Response,
    database: DatabaseDep,
    user: CurrentUser,
    now: Now,
    version: ExpectedVersion,
    master_id: MasterId,
    body: schemas.IpoTerms,
) -> schemas.Ipo:
    """Replace the terms of a draft by all of the given ones."""
    row = await offers.change(
        database,
        artist_id=user.id,
        master_id=master_id,
        body=body,
        rates=_rates(request),
        expected_version=version,
        now=now,
    )
    set_etag(response, row.version)
    return _ipo(row, now)


@router.post("/launch", summary="Launch an offering", response_model=schemas.Ipo)
@raises(
    core.not_found(),
    plans.feature_required("royalty_terms"),
    problems.not_editable(),
    problems.limit_reached(),
    masters.not_approved(),
    masters.suspended(),
    masters.isrc_already_offered(),
    *compliance.ALL,
)
async def launch_ipo(
    request: Request, user: RecentlyAuthenticatedUser, now: Now, idempotent: Idempotent, master_id: MasterId
) -> Response:
    """Fix the terms and create the shares. Purchases begin at `opens_at`; until then it can be taken back."""

    async def effect(tx: Transaction) -> schemas.Ipo:
        row = await offers.launch(tx, artist_id=user.id, master_id=master_id, rates=_rates(request), now=now)
        return _ipo(row, now)

    return await idempotent.run(user_id=user.id, body=None, effect=effect, status=200)


@router.post("/unlaunch", summary="Take a launch back", response_model=schemas.Ipo)
@raises(core.not_found(), problems.not_editable())
async def unlaunch_ipo(user: CurrentUser, now: Now, idempotent: Idempotent, master_id: MasterId) -> Response:
    """Make a scheduled offering a draft again, before it opens."""

    async def effect(tx: Transaction) -> schemas.Ipo:
        return _ipo(await offers.unlaunch(tx, artist_id=user.id, master_id=master_id, now=now), now)

    return await idempotent.run(user_id=user.id, body=None, effect=effect, status=200)


@router.put("/allowlist", status_code=204, summary="Replace the allowlist", max_body_size=MAX_ALLOWLIST_BYTES)
@raises(core.not_found(), problems.not_live())
async def set_ipo_allowlist(
    database: DatabaseDep, user: CurrentUser, master_id: MasterId, body: schemas.Allowlist
) -> None:
    """Say which accounts may buy before `allowlist_until`."""
    await offers.set_allowlist(database, artist_id=user.id, master_id=master_id, entries=body.entries)


@router.get("/mint-preview", summary="Preview a purchase")
@raises(core.not_found(), problems.allowlist_only(), *compliance.ALL)
async def preview_mint(
    database: DatabaseDep,
    user: CurrentUser,
    now: Now,
    master_id: MasterId,
    quantity: Annotated[int, Query(ge=1, le=schemas.MAX_QUANTITY, description="Shares.", examples=[10])] = 1,
) -> schemas.MintPreview:
    """Return what a purchase would cost and give at this moment, if the account may buy. Nothing is reserved."""
    ipo = await _visible(database, user, master_id)
    buyer = await database.fetch_one(BUYER, BuyerRow, ipo_id=ipo.id, user_id=user.id)
    cap = purchases.cap_of(ipo, buyer, now)
    if cap is None:
        raise problems.allowlist_only()
    total = quantity * ipo.unit_price
    await rules.check(
        database, action="buy", user_id=user.id, ipo_id=ipo.id, amount=total, currency=ipo.currency, now=now
    )
    used = (buyer.bought or 0) + (buyer.reserved or 0) if buyer else 0
    return schemas.MintPreview(
        quantity=quantity,
        unit_price=ipo.unit_price,
        total=total,
        currency=ipo.currency,
        available=ipo.available,
        remaining_cap=max(cap - used, 0),
        next_serial=ipo.sold + 1 if ipo.sold < ipo.offered else None,
        minter_rank=(buyer.ordinal if buyer else None) or ipo.buyers + 1,
    )


@router.post("/reservations", status_code=201, summary="Reserve shares", response_model=schemas.Reservation)
@raises(
    core.not_found(),
    problems.own(),
    problems.allowlist_only(),
    problems.not_open(),
    problems.ended(),
    problems.paused(),
    problems.sold_out(3),
    problems.cap_exceeded(),
    problems.reservation_exists(),
    problems.reservation_paused(60),
    problems.reservation_limit_reached(),
    *compliance.ALL,
)
async def reserve_shares(
    user: CurrentUser, now: Now, idempotent: Idempotent, master_id: MasterId, body: schemas.ReservationRequest
) -> Response:
    """Set shares aside for ten minutes, to pay meanwhile. A purchase with its id uses them."""

    async def effect(tx: Transaction) -> schemas.Reservation:
        reservation_id, expires_at = await purchases.reserve(
            tx, user_id=user.id, master_id=master_id, quantity=body.quantity, now=now
        )
        return schemas.Reservation(id=reservation_id, quantity=body.quantity, expires_at=expires_at)

    return await idempotent.run(user_id=user.id, body=body, effect=effect)


@router.delete("/reservations/{reservation_id}", status_code=204, summary="Cancel a reservation")
@raises(core.not_found(), problems.reservation_not_open())
async def cancel_reservation(
    database: DatabaseDep, user: CurrentUser, master_id: MasterId, reservation_id: ReservationId
) -> None:
    """Free the shares for others."""
    await purchases.cancel_reservation(database, user_id=user.id, master_id=master_id, reservation_id=reservation_id)


@router.post("/mint", status_code=201, summary="Buy shares", response_model=schemas.Purchase)
@raises(*problems.ALL_OF_PURCHASE)
async def buy_shares(
    request: Request,
    user: CurrentUser,
    now: Now,
    idempotent: Idempotent,
    master_id: MasterId,
    body: schemas.PurchaseRequest,
) -> Response:
    """Pay and receive the shares at once, all of them or none. Serials are given in the order of payment."""
    delay = services_of(request).settings.proceeds_delay

    async def write(database: Database, claim: Claim) -> StoredResponse:
        buy = partial(
            purchases.purchase,
            claim=claim,
            user_id=user.id,
            master_id=master_id,
            quantity=body.quantity,
            expected_total=body.expected_total,
            reservation_id=body.reservation_id,
            now=now,
        )
        result = await closing.buy(database, buy, proceeds_delay=delay, now=now)
        return StoredResponse(status=result.status, body=result.body, is_replay=result.is_replay)

    return await idempotent.run_write(user_id=user.id, body=body, write=write)


@router.post("/purchases/{purchase_id}/withdraw", summary="Withdraw from a purchase", response_model=schemas.Withdrawal)
@raises(core.not_found(), problems.withdrawal_closed())
async def withdraw_purchase(
    user: CurrentUser, now: Now, idempotent: Idempotent, master_id: MasterId, purchase_id: PurchaseId
) -> Response:
    """Give the shares back for the full price, within the offering's `reflection_hours`."""

    async def effect(tx: Transaction) -> schemas.Withdrawal:
        row, transfer_id = await purchases.withdraw(
            tx, user_id=user.id, master_id=master_id, purchase_id=purchase_id, now=now
        )
        return schemas.Withdrawal(purchase_id=row.id, refunded=row.total, transfer_id=transfer_id)

    return await idempotent.run(user_id=user.id, body=None, effect=effect, status=200)


@router.post("/complete", summary="End an offering now", response_model=schemas.Ipo)
@raises(
    core.not_found(),
    problems.minimum_not_reached(),
    problems.withdrawable(),
    problems.completed(),
    problems.not_live(),
)
async def complete_ipo(
    request: Request, user: CurrentUser, now: Now, idempotent: Idempotent, master_id: MasterId
) -> Response:
    """Pay the proceeds and keep what isn't sold, before `ends_at`."""
    delay = services_of(request).settings.proceeds_delay

    async def effect(tx: Transaction) -> schemas.Ipo:
        ipo = await offers.lock_own(tx, artist_id=user.id, master_id=master_id)
        by = Actor(user_id=user.id)
        return _ipo(await closing.complete(tx, ipo_id=ipo.id, proceeds_delay=delay, now=now, by=by), now)

    return await idempotent.run(user_id=user.id, body=None, effect=effect, status=200)


@router.post("/cancel", status_code=202, summary="Cancel an offering", response_model=schemas.Ipo)
@raises(core.not_found(), problems.has_sales(), problems.completed(), problems.not_live())
async def cancel_ipo(
    request: Request, user: CurrentUser, now: Now, idempotent: Idempotent, master_id: MasterId
) -> Response:
    """Cancel it: its artist before the first sale, an administrator also later. All buyers are refunded in full."""
    jobs = services_of(request).jobs

    async def effect(tx: Transaction) -> schemas.Ipo:
        artist_id = None if user.role == "admin" else user.id
        by = Actor(user_id=user.id)
        ipo = await closing.start_cancel(tx, master_id=master_id, by=by, now=now, artist_id=artist_id)
        await jobs.enqueue(tx, REFUND, ipo.id.bytes)
        return _ipo(ipo, now)

    return await idempotent.run(user_id=user.id, body=None, effect=effect, status=202)


@router.post("/pause", summary="Pause or resume an offering")
@raises(core.not_found(), problems.not_live())
async def pause_ipo(
    database: DatabaseDep, user: Admin, now: Now, master_id: MasterId, body: schemas.Pause
) -> schemas.Ipo:
    """Stop purchases, or let them go on; for administrators."""
    async with database.transaction() as tx:
        row = await offers.set_paused(tx, master_id=master_id, paused=body.paused, by=Actor(user_id=user.id), now=now)
    return _ipo(row, now)


async def _visible(database: Database, user: CheckedUser | None, master_id: UUID) -> IpoRow:
    """
    Raises:
        Problem: 404, also for a draft of another artist.
    """
    row = await database.fetch_one(CURRENT, IpoRow, master_id=master_id)
    if row is None or (row.status == "draft" and (user is None or (user.id != row.artist_id and user.role != "admin"))):
        raise core.not_found()
    return row


def _rates(request: Request) -> Rates:
    settings = services_of(request).settings
    return Rates(
        platform_bps=settings.platform_bps,
        sale_fee_bps=settings.sale_fee_bps,
        resale_fee_bps=settings.resale_fee_bps,
        currencies=settings.currencies,
    )


def _ipo(row: IpoRow, now: datetime) -> schemas.Ipo:
    values = {name: getattr(row, name) for name in schemas.Ipo.model_fields if hasattr(row, name)}
    return schemas.Ipo.model_validate(
        values
        | {
            "status": shown_status(row, now),
            "sold": row.sold - row.returned,
            "royalty": json.loads(row.royalty),
            "terms_sha256": row.terms_sha256.hex() if row.terms_sha256 else None,
        }
    )
