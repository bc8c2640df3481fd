"""Read queries of prices, subscriptions and usage."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, Text, Uuid, any_, bindparam, column, func, select, text
from sqlalchemy.dialects.postgresql import ARRAY

from audifi.core.db.statements import Statement
from audifi.subscriptions.models import LIVE, Instant, Interval, PlanPrice, Subscription, SubscriptionStatus
from audifi.subscriptions.models import UsageCounter as Counter
from audifi.subscriptions.plans import PLANS, VERSION, LimitKey, PaidPlan, PlanName

RANK = f"array_position(ARRAY[{', '.join(map(repr, PLANS))}], plan)"
"""SQL: 1 for the lowest plan."""
IN_FORCE = f"""
    SELECT s.user_id, s.plan, p.entitlements_version AS version
    FROM subscriptions AS s JOIN plan_prices AS p ON p.price_id = s.price_id
    WHERE s.user_id = ANY(:user_ids) AND {LIVE} AND s.access_until > :now
    UNION ALL
    SELECT user_id, plan, {VERSION} FROM plan_grants
    WHERE user_id = ANY(:user_ids) AND ends_at > :now AND starts_at <= :now
"""  # noqa: S608 - of constants
"""SQL: the paid plans of accounts that are in force; an account can have several."""

PLAN_OF = Statement(
    text(f"SELECT DISTINCT ON (user_id) user_id, plan, version FROM ({IN_FORCE}) AS plans"  # noqa: S608
         f" ORDER BY user_id, {RANK} DESC, version DESC")
    .bindparams(bindparam("user_ids", type_=ARRAY(Uuid)), bindparam("now", type_=Instant))
    .columns(column("user_id", Uuid), column("plan", Text), column("version", BigInteger))
)  # fmt: skip
PRICES = Statement(
    select(PlanPrice.plan, PlanPrice.interval, PlanPrice.currency, PlanPrice.unit_amount)
    .where(PlanPrice.active)
    .order_by(PlanPrice.plan.desc(), PlanPrice.interval, PlanPrice.currency)
)
CURRENT = Statement(
    select(
        Subscription.plan,
        Subscription.status,
        Subscription.interval,
        PlanPrice.currency,
        PlanPrice.unit_amount,
        Subscription.period_start,
        Subscription.period_end,
        Subscription.trial_end,
        Subscription.cancel_at_period_end,
        Subscription.past_due_since,
        Subscription.pending_plan,
        Subscription.pending_interval,
        Subscription.pending_at,
        Subscription.access_until,
    )
    .join(PlanPrice, PlanPrice.price_id == Subscription.price_id)
    .where(Subscription.user_id == bindparam("user_id"))
    .order_by(text(f"({LIVE}) DESC"), Subscription.id.desc())
    .limit(1)
)
USED = Statement(
    select(Counter.key, Counter.used).where(
        Counter.user_id == bindparam("user_id"),
        Counter.period == any_(bindparam("periods", type_=ARRAY(Counter.period.type))),
    )
)
COUNTS = Statement(
    select(Subscription.plan, Subscription.status, func.count().label("count"))
    .where(text(LIVE))
    .group_by(Subscription.plan, Subscription.status)
)


@dataclass(frozen=True, slots=True)
class PlanRow:
    user_id: UUID
    plan: PlanName
    version: int


@dataclass(frozen=True, slots=True)
class PriceRow:
    plan: PaidPlan
    interval: Interval
    currency: str
    unit_amount: int


@dataclass(frozen=True, slots=True)
class SubscriptionRow:
    plan: PaidPlan
    status: SubscriptionStatus
    interval: Interval
    currency: str
    unit_amount: int
    period_start: datetime
    period_end: datetime
    trial_end: datetime | None
    cancel_at_period_end: bool
    past_due_since: datetime | None
    pending_plan: PaidPlan | None
    pending_interval: Interval | None
    pending_at: datetime | None
    access_until: datetime


@dataclass(frozen=True, slots=True)
class UsedRow:
    key: LimitKey
    used: int


@dataclass(frozen=True, slots=True)
class CountRow:
    plan: PaidPlan
    status: SubscriptionStatus
    count: int
