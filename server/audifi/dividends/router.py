"""`/api/v1/dividends`: what holders claim, and what they see of a master's pool."""

from collections.abc import Iterable
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Request, Response
from fastapi.responses import StreamingResponse

from audifi.auth.dependencies import CurrentUser, account_key
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
from audifi.dividends import claims, csv, problems, queries, schemas
from audifi.dividends.distributions import DistributionRow
from audifi.dividends.queries import ClaimableRow, ClaimedTotal, ClaimRow, CurrencyTotal, PoolRow
from audifi.ipos.queries import CURRENT, IpoRow
from audifi.ipos.splits import part
from audifi.ledger import problems as ledger
from audifi.ledger.limits import MONEY
from audifi.ledger.pools import SCALE

router = APIRouter(
    prefix="/api/v1/dividends",
    tags=["dividends"],
    generate_unique_id_function=operation_id,
    route_class=StrictRoute,
    dependencies=[Depends(rate_limited(MONEY, key=account_key))],
)
ID = "01930b5a-7c1e-7d3f-8a52-6f0e4b9c2d17"
MasterId = Annotated[UUID, Path(description="The master's id.", examples=[ID])]
Year = Annotated[int, Path(ge=2000, le=9998, description="The year of the claims, in UTC.", examples=[2026])]


@router.get("/claimable", summary="List what can be claimed")
async def list_claimable(
    request: Request, database: DatabaseDep, user: CurrentUser, limit: PageLimit = 20, cursor: Cursor = None
) -> schemas.ClaimablePage:
    """Return what has accrued on the account's shares, and on sold ones until their sale."""
    page = await queries.CLAIMABLE.fetch(
        database, services_of(request).cursors, sort="id", limit=limit, cursor=cursor, user_id=user.id
    )
    return schemas.ClaimablePage(data=[_claimable(row) for row in page.rows], next_cursor=page.next_cursor)


@router.post("/claim", status_code=201, summary="Claim dividends", response_model=schemas.ClaimResult)
@raises(problems.nothing_to_claim(), ledger.balance_limit_exceeded(), *compliance.ALL)
async def claim_dividends(user: CurrentUser, now: Now, idempotent: Idempotent, body: schemas.ClaimCreate) -> Response:
    """Pay what has accrued to the available balance, at any time; a debt of the account is paid first."""

    async def call(tx: Transaction, key: Claim) -> StoredResponse:
        result = await claims.claim(tx, key, user_id=user.id, master_id=body.master_id, now=now)
        return StoredResponse(status=result.status, body=result.body, is_replay=result.is_replay)

    return await idempotent.run_call(user_id=user.id, body=body, call=call)


@router.get("/history", summary="List claims")
async def list_claims(
    request: Request, database: DatabaseDep, user: CurrentUser, limit: PageLimit = 20, cursor: Cursor = None
) -> schemas.ClaimPage:
    """Return the account's claims, newest first."""
    page = await queries.HISTORY.fetch(
        database, services_of(request).cursors, sort="-created_at", limit=limit, cursor=cursor, user_id=user.id
    )
    return schemas.ClaimPage(data=[_claim(row) for row in page.rows], next_cursor=page.next_cursor)


@router.get("/summary", summary="Sum up the account's dividends")
async def get_dividend_summary(database: DatabaseDep, user: CurrentUser) -> schemas.DividendSummary:
    """Return what the account can claim and has claimed, by currency."""
    claimable = await database.fetch_all(queries.CLAIMABLE_TOTALS, CurrencyTotal, user_id=user.id)
    claimed = await database.fetch_all(queries.CLAIMED_TOTALS, ClaimedTotal, user_id=user.id)
    return schemas.DividendSummary(data=_summary(claimable, claimed))


@router.get("/contract/{master_id}", summary="Get a master's pool")
@raises(core.not_found())
async def get_dividend_contract(database: DatabaseDep, _: CurrentUser, master_id: MasterId) -> schemas.DividendContract:
    """Return how a master's revenue is shared out, what was, and when the next record time is."""
    ipo = await database.fetch_one(CURRENT, IpoRow, master_id=master_id)
    if ipo is None or ipo.status in {"draft", "canceled"}:
        raise core.not_found()
    pools = await database.fetch_all(queries.POOLS, PoolRow, ipo_id=ipo.id)
    distributions = await database.fetch_all(queries.DISTRIBUTIONS, DistributionRow, ipo_id=ipo.id)
    next_record_at = await queries.next_record_at(database, ipo_ids=[ipo.id])
    return schemas.DividendContract(
        master_id=master_id,
        total_shares=ipo.total_shares,
        holders_bps=ipo.holders_bps,
        platform_bps=ipo.platform_bps,
        pools=[_pool(row) for row in pools],
        next_record_at=next_record_at.get(ipo.id),
        distributions=[schemas.Distribution.model_validate(row, from_attributes=True) for row in distributions],
    )


@router.get(
    "/statements/{year}.csv",
    summary="Export a year's claims",
    response_class=StreamingResponse,
    responses={
        200: {
            "content": {
                "text/csv": {
                    "schema": {"type": "string"},
                    "example": f"{','.join(csv.COLUMNS)}\r\n2026-05-10T12:00:00.123456+00:00,{ID},Night drive,USD,"
                    f"25.00,0.00,25.00,{ID}\r\n",
                }
            }
        }
    },
)
@raises(csv.TOO_LONG)
async def export_claims(database: DatabaseDep, user: CurrentUser, year: Year) -> StreamingResponse:
    """Return the account's claims of a year as CSV, oldest first, for tax returns. Amounts are decimal numbers."""
    headers = {"Content-Disposition": f'attachment; filename="dividends-{year}.csv"', "Cache-Control": "no-store"}
    lines = await csv.statement(database, user_id=user.id, year=year)
    return StreamingResponse(lines, media_type="text/csv", headers=headers)


def _claimable(row: ClaimableRow) -> schemas.Claimable:
    return schemas.Claimable(
        master_id=row.master_id,
        title=row.title,
        currency=row.currency,
        shares=row.shares,
        amount=row.amount,
        withheld=part(row.amount, row.withholding_bps),
        next_record_at=row.next_record_at,
    )


def _claim(row: ClaimRow) -> schemas.Claim:
    return schemas.Claim.model_validate(row, from_attributes=True)


def _summary(claimable: Iterable[CurrencyTotal], claimed: Iterable[ClaimedTotal]) -> list[schemas.DividendSummaryEntry]:
    amounts = {row.currency: row.amount for row in claimable}
    totals = {row.currency: row for row in claimed}
    nothing = ClaimedTotal(currency="", amount=0, withheld=0, claims=0)
    return [
        schemas.DividendSummaryEntry(
            currency=currency,
            claimable=amounts.get(currency, 0),
            claimed=total.amount,
            withheld=total.withheld,
            claims=total.claims,
        )
        for currency in sorted(amounts.keys() | totals.keys())
        for total in (totals.get(currency, nothing),)
    ]


def _pool(row: PoolRow) -> schemas.PoolState:
    whole, fraction = divmod(int(row.per_unit), SCALE)
    return schemas.PoolState(
        id=row.id,
        currency=row.currency,
        distributed=row.distributed,
        claimed=row.distributed - row.balance,
        unclaimed=row.balance,
        per_share=f"{whole}.{fraction:09}",
    )
