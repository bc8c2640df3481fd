"""`/api/v1/payments`: plans, the account's subscription, what it may do and what it uses."""

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from audifi.auth.dependencies import (
    RECENT,
    CurrentUser,
    account_key,
    recently_authenticated_user,
    require_role,
)
from audifi.auth.problems import recent_sign_in_required
from audifi.auth.session_checks import CheckedUser
from audifi.core.db.database import Database, Transaction
from audifi.core.http.dependencies import DatabaseDep, Now, services_of
from audifi.core.http.openapi import operation_id, raises
from audifi.core.http.rate_limits import rate_limited
from audifi.core.http.routing import StrictRoute
from audifi.core.http.schemas import Cursor, PageLimit
from audifi.core.idempotency.dependencies import Idempotent
from audifi.payments import problems as payments
from audifi.payments.checkouts import CheckoutRow
from audifi.payments.limits import PAGES as PAGE_LIMIT
from audifi.payments.router import OF_STRIPE, answer
from audifi.payments.schemas import Checkout, CheckoutStarted
from audifi.subscriptions import changes, grants, plans, problems, purchases, schemas
from audifi.subscriptions.entitlements import PlanInForce, period_of, plan_of, resets_at
from audifi.subscriptions.history import HISTORY
from audifi.subscriptions.limits import CHANGE_LIMIT, PREVIEW_LIMIT
from audifi.subscriptions.models import Interval
from audifi.subscriptions.plans import ENTITLEMENTS, LIMIT_KEYS, PLANS, PaidPlan, PlanName
from audifi.subscriptions.queries import CURRENT, PRICES, USED, PriceRow, SubscriptionRow, UsedRow

router = APIRouter(
    prefix="/api/v1/payments",
    tags=["subscriptions"],
    generate_unique_id_function=operation_id,
    route_class=StrictRoute,
)
Admin = Annotated[CheckedUser, Depends(require_role("admin"))]
PlanId = Annotated[PlanName, Path(description="The plan.", examples=["PRO"])]
CACHED = "public, max-age=300"
PAGES = Depends(rate_limited(PAGE_LIMIT, key=account_key))
CHANGES = Depends(rate_limited(CHANGE_LIMIT, key=account_key))
PREVIEWS = Depends(rate_limited(PREVIEW_LIMIT, key=account_key, reads=True))
OF_CHANGES = (
    problems.subscription_none(),
    problems.subscription_ended(),
    problems.subscription_canceling(),
    problems.subscription_past_due(),
    problems.transition_refused("unpaid", ["cancel_immediately"]),
)


@router.get("/plans", summary="List the plans")
async def list_plans(response: Response, database: DatabaseDep) -> schemas.PlanList:
    """Return what can be bought, what it costs and what it contains. It may be cached for five minutes."""
    response.headers["Cache-Control"] = CACHED
    return schemas.PlanList(data=await _plans(database))


@router.get("/plans/{plan_id}", summary="Get a plan")
async def get_plan(response: Response, database: DatabaseDep, plan_id: PlanId) -> schemas.Plan:
    """Return what a plan costs and contains. It may be cached for five minutes."""
    response.headers["Cache-Control"] = CACHED
    return next(plan for plan in await _plans(database) if plan.id == plan_id)


@router.get("/subscription", summary="Get the account's subscription")
async def get_subscription(database: DatabaseDep, user: CurrentUser, now: Now) -> schemas.Subscription:
    """Return the plan in force, and the newest subscription. An account without one has the plan FREE."""
    plan = await _plan_in_force(database, user, now)
    row = await database.fetch_one(CURRENT, SubscriptionRow, user_id=user.id)
    return schemas.Subscription(plan=plan.name, subscription=row and _subscription(row))


@router.get("/entitlements", summary="Get what the account may do")
async def get_entitlements(database: DatabaseDep, user: CurrentUser, now: Now) -> schemas.Entitlements:
    """Return what the account's plan contains."""
    plan = await _plan_in_force(database, user, now)
    return _entitlements(plan.name, plan.version)


@router.get("/usage", summary="Get what the account uses")
async def get_usage(database: DatabaseDep, user: CurrentUser, now: Now) -> schemas.UsageList:
    """Return how much of each limit is used. After a change to a lower plan it may be more than that allows."""
    plan = await _plan_in_force(database, user, now)
    periods = sorted({period_of(key, now) for key in LIMIT_KEYS})
    rows = await database.fetch_all(USED, UsedRow, user_id=user.id, periods=periods)
    used = {row.key: row.used for row in rows}
    return schemas.UsageList(
        plan=plan.name,
        data=[
            schemas.Usage(
                key=key,
                used=(count := used.get(key, 0)),
                limit=(limit := plan.entitlements.limits[key]),
                over_limit=limit is not None and count > limit,
                resets_at=resets_at(key, now),
            )
            for key in LIMIT_KEYS
        ],
    )


@router.post("/grants", status_code=201, summary="Grant a plan", response_model=schemas.Grant)
async def create_plan_grant(admin: Admin, now: Now, idempotent: Idempotent, body: schemas.GrantCreate) -> Response:
    """Give an account a plan until an instant, beside what it pays for: it has the highest of them."""

    async def effect(tx: Transaction) -> schemas.Grant:
        row = await grants.grant(tx, **body.model_dump(), granted_by=admin.id, now=now)
        return schemas.Grant.model_validate(row, from_attributes=True)

    return await idempotent.run(user_id=admin.id, body=body, effect=effect)


@router.get("/history", summary="List payments")
async def list_history(
    request: Request,
    database: DatabaseDep,
    user: CurrentUser,
    type: Annotated[schemas.HistoryType | None, Query(description="Only these.", examples=["deposit"])] = None,  # noqa: A002
    status: Annotated[
        str | None, Query(max_length=20, pattern="^[a-z]+$", description="Only with it.", examples=["succeeded"])
    ] = None,
    limit: PageLimit = 20,
    cursor: Cursor = None,
) -> schemas.HistoryPage:
    """Return the account's invoices, deposits, refunds, disputes and payouts, newest first."""
    page = await HISTORY.fetch(
        database,
        services_of(request).cursors,
        sort="-id",
        limit=limit,
        cursor=cursor,
        filters={"type": type, "status": status},
        owner_id=user.id,
    )
    data = [schemas.HistoryItem.model_validate(row, from_attributes=True) for row in page.rows]
    return schemas.HistoryPage(data=data, next_cursor=page.next_cursor)


async def _plan_in_force(database: Database, user: CheckedUser, now: Now) -> PlanInForce:
    return (await plan_of(database, user_ids=[user.id], now=now))[user.id]


async def _plans(database: Database) -> list[schemas.Plan]:
    rows = await database.fetch_all(PRICES, PriceRow)
    return [
        schemas.Plan(
            id=plan,
            prices=[schemas.Price.model_validate(row, from_attributes=True) for row in rows if row.plan == plan],
            entitlements=_entitlements(plan, plans.VERSION),
            services=list(plans.SERVICES[plan]),
        )
        for plan in PLANS
    ]


def _entitlements(plan: PlanName, version: int) -> schemas.Entitlements:
    contents = ENTITLEMENTS[plan, version]
    limits = schemas.Limits.model_validate({**contents.limits, "decisions_per_session": contents.decisions_per_session})
    return schemas.Entitlements(plan=plan, limits=limits, features=sorted(contents.features))


def _subscription(row: SubscriptionRow) -> schemas.PaidSubscription:
    pending = row.pending_plan and schemas.PlannedChange.model_validate(
        {"plan": row.pending_plan, "interval": row.pending_interval, "at": row.pending_at}
    )
    values = {name: value for name, value in asdict(row).items() if not name.startswith("pending_")}
    return schemas.PaidSubscription(**values, pending=pending)


@router.post(
    "/subscription",
    status_code=201,
    summary="Subscribe to a plan",
    response_model=Checkout,
    responses={200: {"model": Checkout, "description": "The page that is open for the same plan."}},
    dependencies=[PAGES],
)
@raises(
    *OF_STRIPE,
    payments.checkout_failed(),
    payments.checkout_in_progress(),
    problems.subscription_exists(),
    problems.price_changed(2900),
)
async def create_subscription_checkout(
    request: Request, user: CurrentUser, now: Now, idempotent: Idempotent, body: schemas.SubscriptionStart
) -> Response:
    """Return a page of Stripe's on which the plan is bought. An account's first PRO begins with a trial of 14 days.

    While a page for the same plan is open, it is returned; one for another plan ends. When the person comes back, call
    `POST /payments/checkouts/{id}/sync`.
    """
    services = services_of(request)
    if not services.stripe.is_configured:
        raise payments.not_configured()
    stored = await idempotent.find(user_id=user.id, body=body)
    if stored is None:
        page = await purchases.find_page(services, user=user, body=body, now=now)
        if isinstance(page, CheckoutRow):
            shown = Checkout(checkout_id=page.id, status=page.status, url=page.url, expires_at=page.expires_at)
            return Response(shown.model_dump_json(), 200, media_type="application/json")

        async def effect(tx: Transaction) -> CheckoutStarted:
            row = await purchases.start(tx, user_id=user.id, wanted=page, now=now)
            return CheckoutStarted(checkout_id=row.id)

        stored = await idempotent.run(user_id=user.id, body=body, effect=effect)
    return await answer(request, stored)


@router.get("/subscription/preview", summary="Preview a change of plan", dependencies=[PREVIEWS])
@raises(*OF_STRIPE, *OF_CHANGES)
async def preview_subscription_change(
    request: Request,
    user: CurrentUser,
    now: Now,
    plan: Annotated[PaidPlan, Query(description="The plan to change to.", examples=["ENTERPRISE"])],
    interval: Annotated[Interval, Query(description="How often to pay.", examples=["month"])],
) -> schemas.ChangePreview:
    """Return what the change costs now, and when it happens. Good for 10 minutes."""
    row = await changes.preview(services_of(request), user_id=user.id, plan=plan, interval=interval, now=now)
    return schemas.ChangePreview(
        effect=row.effect,
        amount_due=row.due,
        currency=row.currency,
        unit_amount=row.unit_amount,
        proration_at=row.proration_at,
        effective_at=row.effective_at,
    )


@router.patch("/subscription", summary="Change the plan", dependencies=[CHANGES])
@raises(
    *OF_STRIPE,
    *OF_CHANGES,
    problems.price_changed(8512),
    problems.preview_expired(),
    problems.action_required("https://invoice.stripe.com/i/acct_1/test_1"),
    payments.declined("insufficient_funds"),
)
async def change_subscription(
    request: Request, user: CurrentUser, now: Now, idempotent: Idempotent, body: schemas.SubscriptionChange
) -> schemas.Subscription:
    """Change the plan or interval: up at once and only if it is paid, down at the end of the period.

    An upgrade needs the amount and instant of a preview. What the account has already drops a planned change.
    """
    await changes.change(
        services_of(request),
        user_id=user.id,
        **body.model_dump(),
        key=idempotent.digest(user_id=user.id, body=body),
        now=now,
    )
    return await get_subscription(services_of(request).database, user, now)


AtOnce = Annotated[
    bool,
    Query(
        alias="cancelImmediately",
        description="Whether it ends now, without a refund; needs a sign-in of the last 5 minutes.",
        examples=[False],
    ),
]


@router.delete("/subscription", summary="Cancel the subscription", dependencies=[CHANGES])
@raises(
    *OF_STRIPE,
    problems.subscription_none(),
    problems.subscription_ended(),
    problems.transition_refused("unpaid", ["cancel_immediately"]),
    recent_sign_in_required(int(RECENT.total_seconds())),
)
async def cancel_subscription(
    request: Request,
    user: CurrentUser,
    now: Now,
    *,
    at_once: AtOnce = False,
) -> schemas.Subscription:
    """Let the subscription end with its period, and its plan with it. Repeating it is no error."""
    if at_once:
        await recently_authenticated_user(user, now)
    await changes.cancel(services_of(request), user_id=user.id, at_once=at_once)
    return await get_subscription(services_of(request).database, user, now)


@router.post("/subscription/reactivate", summary="Take a cancellation back", dependencies=[CHANGES])
@raises(
    *OF_STRIPE,
    problems.subscription_none(),
    problems.subscription_ended(),
    problems.subscription_not_canceling(),
    problems.transition_refused("active", []),
)
async def reactivate_subscription(request: Request, user: CurrentUser, now: Now) -> schemas.Subscription:
    """Let a canceled subscription renew again, before its period has ended."""
    await changes.reactivate(services_of(request), user_id=user.id)
    return await get_subscription(services_of(request).database, user, now)
