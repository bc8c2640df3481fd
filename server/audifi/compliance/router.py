"""`/api/v1/compliance`, for administrators."""

import json
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from audifi.auth.dependencies import require_role
from audifi.auth.session_checks import CheckedUser
from audifi.compliance import queries, schemas, service
from audifi.compliance.models import Action
from audifi.compliance.queries import AccountRow, ChangeRow, RateRow, RuleRow
from audifi.compliance.service import By
from audifi.core.http.conditional import ExpectedVersion, set_etag
from audifi.core.http.dependencies import DatabaseDep, Now, services_of
from audifi.core.http.openapi import operation_id, raises
from audifi.core.http.problems import not_found
from audifi.core.http.routing import StrictRoute
from audifi.core.http.schemas import Cursor, PageLimit

router = APIRouter(
    prefix="/api/v1/compliance",
    tags=["compliance"],
    generate_unique_id_function=operation_id,
    route_class=StrictRoute,
)
Admin = Annotated[CheckedUser, Depends(require_role("admin"))]
UserId = Annotated[UUID, Path(description="The account's id.", examples=["01930b5a-7c1e-7d3f-8a52-6f0e4b9c2d17"])]
ActionName = Annotated[Action, Path(description="The action that the rule is for.", examples=["buy"])]
CountryCode = Annotated[str, Path(pattern="^[A-Z]{2}$", description="ISO 3166-1 alpha-2.", examples=["DE"])]
META = {"updated_by", "operator", "reason", "updated_at", "user_id", "action"}
"""Columns of a changed row that aren't among its values."""


@router.get("/accounts/{user_id}", summary="Get what is known of an account")
@raises(not_found())
async def get_account_compliance(
    response: Response, database: DatabaseDep, _: Admin, user_id: UserId
) -> schemas.AccountCompliance:
    """Return its verification, its country, and whether it is frozen."""
    row = await database.fetch_one(queries.ACCOUNT, AccountRow, user_id=user_id)
    if row is None:
        raise not_found()
    return _account(response, row)


@router.put("/accounts/{user_id}", summary="Set what is known of an account")
@raises(not_found())
async def set_account_compliance(
    response: Response,
    database: DatabaseDep,
    admin: Admin,
    now: Now,
    version: ExpectedVersion,
    user_id: UserId,
    body: schemas.AccountComplianceUpdate,
) -> schemas.AccountCompliance:
    """Replace its verification and country, and freeze it or not. The change is recorded."""
    account = AccountRow(
        user_id=user_id,
        kyc=body.kyc,
        kyc_ref=body.kyc_ref,
        country=body.country,
        frozen_at=now if body.is_frozen else None,
        version=version,
    )
    by = By(user_id=admin.id, reason=body.reason)
    return _account(response, await service.set_account(database, account, by=by, now=now))


@router.get("/rules", summary="List the rules")
async def list_compliance_rules(database: DatabaseDep, _: Admin) -> schemas.RuleList:
    """Return what each action requires of an account. At first, all actions are unrestricted."""
    return schemas.RuleList(data=[_rule(row) for row in await queries.rules(database)])


@router.put("/rules/{action}", summary="Set a rule")
async def set_compliance_rule(
    response: Response,
    database: DatabaseDep,
    admin: Admin,
    now: Now,
    version: ExpectedVersion,
    action: ActionName,
    body: schemas.RuleUpdate,
) -> schemas.Rule:
    """Replace what an action requires, at once and for all accounts. The change is recorded."""
    rule = RuleRow(
        action=action,
        kyc_required=body.kyc_required,
        countries_blocked=body.countries_blocked,
        amount_per_12_months=body.amount_per_12_months,
        version=version,
    )
    row = await service.set_rule(database, rule, by=By(user_id=admin.id, reason=body.reason), now=now)
    set_etag(response, row.version)
    return _rule(row)


@router.get("/withholding", summary="List withholding rates")
async def list_withholding_rates(database: DatabaseDep, _: Admin) -> schemas.WithholdingRateList:
    """Return the countries from whose people a part of each claim is withheld."""
    rows = await database.fetch_all(queries.RATES, RateRow)
    return schemas.WithholdingRateList(data=[schemas.WithholdingRate(country=row.country, bps=row.bps) for row in rows])


@router.put("/withholding/{country}", summary="Set a withholding rate")
async def set_withholding_rate(
    database: DatabaseDep, admin: Admin, now: Now, country: CountryCode, body: schemas.WithholdingRateUpdate
) -> schemas.WithholdingRate:
    """Set what is withheld from the claims of people in a country. The change is recorded."""
    by = By(user_id=admin.id, reason=body.reason)
    await service.set_withholding(database, country=country, bps=body.bps, by=by, now=now)
    return schemas.WithholdingRate(country=country, bps=body.bps)


@router.get("/changes", summary="List changes")
async def list_compliance_changes(
    request: Request,
    _: Admin,
    subject: Annotated[
        str,
        Query(
            pattern="^[A-Za-z0-9_-]{2,36}$",
            description="An account's id, an action, or a country with a withholding rate.",
            examples=["01930b5a-7c1e-7d3f-8a52-6f0e4b9c2d17"],
        ),
    ],
    limit: PageLimit = 20,
    cursor: Cursor = None,
) -> schemas.ChangePage:
    """Return who changed an account, a rule or a rate, when and why; the newest first."""
    services = services_of(request)
    page = await queries.CHANGES.fetch(
        services.database, services.cursors, sort="-id", limit=limit, cursor=cursor, subject=subject
    )
    return schemas.ChangePage(data=[_change(row) for row in page.rows], next_cursor=page.next_cursor)


def _account(response: Response, row: AccountRow) -> schemas.AccountCompliance:
    set_etag(response, row.version)
    return schemas.AccountCompliance.model_validate(row, from_attributes=True)


def _rule(row: RuleRow) -> schemas.Rule:
    return schemas.Rule.model_validate(row, from_attributes=True)


def _change(row: ChangeRow) -> schemas.Change:
    new: dict[str, Any] = json.loads(row.new)
    old: dict[str, Any] | None = json.loads(row.old) if row.old else None
    return schemas.Change(
        kind=row.kind,
        subject=row.subject,
        changed_by=new["updated_by"],
        operator=new["operator"],
        reason=new["reason"],
        old=old and _values(old),
        new=_values(new),
        at=row.at,
    )


def _values(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in META}
