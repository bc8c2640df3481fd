"""`/api/v1/ledger`."""

from datetime import timedelta
from itertools import groupby
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.responses import StreamingResponse

from audifi.auth.dependencies import CurrentUser, account_key, require_role
from audifi.auth.session_checks import CheckedUser
from audifi.core.db.database import Database, Transaction
from audifi.core.http.dependencies import DatabaseDep, Now, services_of
from audifi.core.http.openapi import operation_id, raises
from audifi.core.http.problems import not_found
from audifi.core.http.rate_limits import rate_limited
from audifi.core.http.routing import StrictRoute
from audifi.core.http.schemas import Cursor, PageLimit, RequestInstant
from audifi.core.idempotency.dependencies import Idempotent
from audifi.ledger import csv, limits, problems, queries, schemas, service
from audifi.ledger.accounts import Purpose
from audifi.ledger.queries import AccountRow, EntryRow, StatementRow, TotalRow

router = APIRouter(
    prefix="/api/v1/ledger",
    tags=["ledger"],
    generate_unique_id_function=operation_id,
    route_class=StrictRoute,
    dependencies=[Depends(rate_limited(limits.MONEY, key=account_key))],
)

MAX_EXPORT_DAYS = 366
MAX_EXPORT_ENTRIES = 1_000_000
EXPORT_TOO_LONG = problems.period_too_long(
    f"Ask for at most {MAX_EXPORT_DAYS} days and {MAX_EXPORT_ENTRIES:,} entries."
)
Admin = Annotated[CheckedUser, Depends(require_role("admin"))]
AccountId = Annotated[UUID, Path(description="From the list.", examples=["01930b5a-7c1e-8d3f-8a52-6f0e4b9c2d17"])]
TransferId = Annotated[UUID, Path(description="From an entry.", examples=["01930b5a-7c1e-7d3f-8a52-6f0e4b9c2d17"])]
SINCE = Query(alias="from", description="The period's beginning, included.", examples=["2026-01-01T00:00:00Z"])
UNTIL = Query(alias="to", description="The period's end, not included.", examples=["2027-01-01T00:00:00Z"])


@router.get("/accounts", summary="List an account's balances")
@raises(not_found())
async def list_ledger_accounts(
    request: Request,
    user: CurrentUser,
    purpose: Annotated[Purpose | None, Query(description="Only these.", examples=["available"])] = None,
    user_id: Annotated[
        UUID | None, Query(description="Another user's, for admins.", examples=["01930b5a-7c1e-7d3f-8a52-6f0e4b9c2d17"])
    ] = None,
    limit: PageLimit = 20,
    cursor: Cursor = None,
) -> schemas.AccountPage:
    """Return the ledger accounts of the user. An account appears with its first movement."""
    if user_id not in {None, user.id} and user.role != "admin":
        raise not_found()
    services = services_of(request)
    page = await queries.ACCOUNTS.fetch(
        services.database,
        services.cursors,
        sort="id",
        limit=limit,
        cursor=cursor,
        filters={"purpose": purpose},
        owner_id=user_id or user.id,
    )
    return schemas.AccountPage(data=[_account(row) for row in page.rows], next_cursor=page.next_cursor)


@router.get("/accounts/{account_id}/entries", summary="List an account's entries")
@raises(not_found())
async def list_ledger_entries(
    request: Request,
    user: CurrentUser,
    account_id: AccountId,
    since: Annotated[RequestInstant | None, SINCE] = None,
    until: Annotated[RequestInstant | None, UNTIL] = None,
    limit: PageLimit = 20,
    cursor: Cursor = None,
) -> schemas.EntryPage:
    """Return the statement of a period, newest first, with its opening and closing balance."""
    services = services_of(request)
    statement = await _statement(services.database, user, account_id, since, until)
    page = await queries.ENTRIES.fetch(
        services.database,
        services.cursors,
        sort="-version",
        limit=limit,
        cursor=cursor,
        account_id=account_id,
        first_version=statement.first_version,
        last_version=statement.last_version,
    )
    return schemas.EntryPage(
        data=[_entry(row) for row in page.rows],
        next_cursor=page.next_cursor,
        asset=statement.asset,
        scale=statement.scale,
        opening_balance=statement.opening_balance,
        closing_balance=statement.closing_balance,
    )


@router.get(
    "/accounts/{account_id}/entries.csv",
    summary="Export an account's entries",
    response_class=StreamingResponse,
    responses={
        200: {
            "content": {
                "text/csv": {
                    "schema": {"type": "string"},
                    "example": f"{','.join(csv.COLUMNS)}\r\n2026-01-31T12:00:00.123456+00:00,2026-01-30T00:00:00+00:00,"
                    "01930b5a-7c1e-7d3f-8a52-6f0e4b9c2d17,deposit,INV-2026-0042,USD,25.00,125.00\r\n",
                }
            }
        }
    },
)
@raises(not_found(), EXPORT_TOO_LONG)
async def export_ledger_entries(
    database: DatabaseDep,
    user: CurrentUser,
    account_id: AccountId,
    since: Annotated[RequestInstant, SINCE],
    until: Annotated[RequestInstant, UNTIL],
) -> StreamingResponse:
    """Return the entries of at most 366 days as CSV, oldest first. Amounts are decimal numbers."""
    if until - since > timedelta(days=MAX_EXPORT_DAYS):
        raise EXPORT_TOO_LONG
    statement = await _statement(database, user, account_id, since, until)
    if statement.last_version - statement.first_version > MAX_EXPORT_ENTRIES:
        raise EXPORT_TOO_LONG
    name = f"entries-{since.date()}-{until.date()}.csv"
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
    return StreamingResponse(csv.lines(database, statement), media_type="text/csv", headers=headers)


@router.post(
    "/transfers/{transfer_id}/reverse",
    status_code=201,
    summary="Reverse a transfer",
    response_model=schemas.Reversal,
)
@raises(
    problems.transfer_not_found(),
    problems.transfer_is_reversal(),
    problems.transfer_already_reversed(),
    problems.transfer_not_reversible(),
    problems.balance_insufficient(1250),
    problems.balance_limit_exceeded(),
)
async def reverse_transfer(
    admin: Admin, now: Now, idempotent: Idempotent, transfer_id: TransferId, body: schemas.ReversalCreate
) -> Response:
    """Post the entries of the transfer with the opposite sign, for admins."""

    async def effect(transaction: Transaction) -> schemas.Reversal:
        posted = await service.reverse(
            transaction, transfer_id=transfer_id, reason=body.reason, now=now, actor_id=admin.id
        )
        return schemas.Reversal(transfer_id=posted.transfer_id, reverses=transfer_id)

    return await idempotent.run(user_id=admin.id, body=body, effect=effect)


@router.get("/proof", summary="Prove that the ledger is balanced")
async def get_ledger_proof(database: DatabaseDep, _: Admin) -> schemas.ProofList:
    """Return the trial balance of each currency, for admins. The full check of each entry runs every night."""
    rows = await database.fetch_all(queries.TRIAL_BALANCE, TotalRow)
    proofs = [
        schemas.Proof(
            asset=asset, scale=scale, difference=sum(row.posted for row in totals), totals=[*map(_total, totals)]
        )
        for (asset, scale), totals in (
            (key, list(group)) for key, group in groupby(rows, key=lambda row: (row.asset, row.scale))
        )
    ]
    is_balanced = not any(proof.difference for proof in proofs)
    return schemas.ProofList(status="balanced" if is_balanced else "unbalanced", data=proofs)


async def _statement(
    database: Database,
    user: CheckedUser,
    account_id: UUID,
    since: RequestInstant | None,
    until: RequestInstant | None,
) -> StatementRow:
    """
    Raises:
        Problem: 404 for an account of another user, unless the user is an admin.
    """
    statement = await database.fetch_one(
        queries.STATEMENT,
        StatementRow,
        account_id=account_id,
        user_id=user.id,
        is_admin=user.role == "admin",
        since=since,
        until=until,
    )
    if statement is None:
        raise not_found()
    return statement


def _account(row: AccountRow) -> schemas.Account:
    return schemas.Account(
        id=row.id,
        purpose=row.purpose,
        asset=row.asset,
        scale=row.scale,
        balance=row.posted,
        held=row.held,
        available=row.posted - row.held,
        frozen_at=row.frozen_at,
    )


def _entry(row: EntryRow) -> schemas.Entry:
    return schemas.Entry.model_validate(row, from_attributes=True)


def _total(row: TotalRow) -> schemas.ProofTotal:
    return schemas.ProofTotal(
        owner_kind=row.owner_kind, purpose=row.purpose, balance=row.posted, held=row.held, accounts=row.accounts
    )
