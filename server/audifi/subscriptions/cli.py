"""`python -m audifi subscriptions …`: operators' commands on plans."""

import asyncio
from dataclasses import astuple, dataclass
from datetime import datetime, timedelta
from typing import Annotated
from uuid import UUID

import typer
from sqlalchemy import bindparam, select

from audifi.auth.models import User
from audifi.core.clock import utc_now
from audifi.core.config.settings import Settings, SettingsError, load
from audifi.core.console import By, Reason, fail, run, show
from audifi.core.db.database import Transaction
from audifi.core.db.statements import Statement
from audifi.core.http.problems import Problem
from audifi.ledger.cli import find_owner
from audifi.payments.client import Stripe
from audifi.subscriptions import grants, prices
from audifi.subscriptions.grants import GrantRow
from audifi.subscriptions.models import PlanGrant
from audifi.subscriptions.plans import PaidPlan
from audifi.subscriptions.stripe_objects import StripePrice

subscriptions = typer.Typer(no_args_is_help=True, help="Plans that accounts have, and that operators grant.")

GRANTS = Statement(
    select(
        PlanGrant.id,
        User.email,
        PlanGrant.plan,
        PlanGrant.starts_at,
        PlanGrant.ends_at,
        PlanGrant.reason,
        PlanGrant.operator,
        PlanGrant.granted_by,
    )
    .join(User, User.id == PlanGrant.user_id)
    .order_by(PlanGrant.starts_at.desc())
    .limit(bindparam("limit")),
    optional={"user_id": PlanGrant.user_id == bindparam("user_id")},
)


@dataclass(frozen=True, slots=True)
class ListedRow:
    id: UUID
    email: str
    plan: str
    starts_at: datetime
    ends_at: datetime
    reason: str
    operator: str | None
    granted_by: UUID | None


@subscriptions.command("grant")
def grant(
    owner: Annotated[str, typer.Argument(metavar="EMAIL|ID", help="The account.")],
    plan: Annotated[PaidPlan, typer.Argument(help="What it gets.")],
    days: Annotated[int, typer.Option(min=1, max=3660, help="For how long.")],
    reason: Reason,
    by: By,
) -> None:
    """Give an account a plan from now on, beside what it pays for."""

    async def work(tx: Transaction) -> GrantRow:
        user_id, now = await find_owner(tx, owner), utc_now()
        ends_at = now + timedelta(days=days)
        try:
            return await grants.grant(
                tx, user_id=user_id, plan=plan, reason=reason, ends_at=ends_at, operator=by, now=now
            )
        except Problem:
            fail(f"There is no account {owner}.")

    row = run(work)
    typer.echo(f"{row.id}: {row.user_id} has {row.plan} until {row.ends_at:%Y-%m-%d %H:%M}.")


@subscriptions.command("list")
def list_grants(
    owner: Annotated[str | None, typer.Argument(metavar="[EMAIL|ID]", help="The account; without it, all.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 50,
) -> None:
    """List the newest grants."""

    async def work(tx: Transaction) -> list[ListedRow]:
        user_id = await find_owner(tx, owner) if owner else None
        return await tx.fetch_all(GRANTS, ListedRow, user_id=user_id, limit=limit)

    columns = ["id", "account", "plan", "from", "until", "reason", "operator", "administrator"]
    show(columns, [list(astuple(row)) for row in run(work)])


@subscriptions.command("end-grant")
def end_grant(grant_id: Annotated[UUID, typer.Argument(metavar="ID", help="The grant's id.")]) -> None:
    """End a grant now. What the account uses stays."""

    async def work(tx: Transaction) -> GrantRow | None:
        return await grants.end(tx, grant_id=grant_id, now=utc_now())

    row = run(work)
    if row is None:
        fail(f"No grant {grant_id} is running.")
    typer.echo(f"{row.id}: {row.user_id} has no {row.plan} by this grant any more.")


@subscriptions.command("sync-prices")
def sync_prices() -> None:
    """Bring the prices of plans from Stripe, by their lookup keys: pro_month_usd, enterprise_year_eur, and so on."""

    async def fetch() -> list[StripePrice]:
        stripe = Stripe(settings)
        try:
            return await prices.fetch_sold(stripe, currencies=settings.currencies)
        finally:
            await stripe.close()

    try:
        settings = load(Settings)
        sold = asyncio.run(fetch())  # before the transaction, which mustn't wait for Stripe
    except SettingsError as error:
        fail(str(error))
    except Problem as problem:
        fail(f"{problem.status} {problem.code}: {problem.detail}")
    run(lambda tx: prices.record_sold(tx, sold))
    columns = ["lookup key", "price", "currency", "amount"]
    show(columns, [[price.lookup_key, price.id, price.currency, price.unit_amount] for price in sold])
