"""Changes of a subscription: up at once and only if paid, down at the end of the period. Stripe computes each price.

Each change is made at Stripe, and then written as any sync is: a server that stops in between loses nothing.
https://docs.stripe.com/billing/subscriptions/pending-updates
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

from sqlalchemy import bindparam, literal_column, select

from audifi.core.db.statements import Statement
from audifi.payments.client import RefusedError
from audifi.payments.syncs import sync_now
from audifi.subscriptions import ends, prices, problems, syncs
from audifi.subscriptions.models import LIVE, Interval, Subscription
from audifi.subscriptions.plans import PLANS, PaidPlan
from audifi.subscriptions.prices import OfferedRow
from audifi.subscriptions.stripe_objects import StripeSubscription
from audifi.subscriptions.stripe_objects import invoice as read_invoice
from audifi.subscriptions.stripe_objects import subscription as read_subscription

if TYPE_CHECKING:
    from audifi.services import Services

PREVIEW_LASTS = timedelta(minutes=10)

type Effect = Literal["none", "now", "at_period_end"]

LIVE_ROW = Statement(
    select(
        Subscription.provider_id,
        Subscription.plan,
        Subscription.interval,
        Subscription.price_id,
        Subscription.cancel_at_period_end,
    ).where(Subscription.user_id == bindparam("owner_id"), literal_column(LIVE))
)
ANY = Statement(select(Subscription.id).where(Subscription.user_id == bindparam("owner_id")).limit(1))


@dataclass(frozen=True, slots=True)
class LiveRow:
    provider_id: str
    plan: PaidPlan
    interval: Interval
    price_id: str
    cancel_at_period_end: bool


@dataclass(frozen=True, kw_only=True)
class Change:
    """What a change would do."""

    subscription: StripeSubscription
    effect: Effect
    price: OfferedRow
    ends_trial: bool

    def items(self, proration_at: datetime) -> dict[str, Any]:
        """Return the parameters that a preview and the change have in common."""
        parameters: dict[str, Any] = {
            "items": [{"id": self.subscription.item_id, "price": self.price.price_id}],
            "proration_behavior": "always_invoice",
            "proration_date": int(proration_at.timestamp()),
        }
        return parameters | ({"trial_end": "now"} if self.ends_trial else {})


@dataclass(frozen=True, kw_only=True)
class Preview:
    """What a change costs."""

    effect: Effect
    due: int
    currency: str
    unit_amount: int
    proration_at: datetime
    effective_at: datetime


def effect_of(plan: PaidPlan, interval: Interval, *, to_plan: PaidPlan, to_interval: Interval) -> Effect:
    """Return when a change happens: a higher plan, or a year in place of a month, at once."""
    steps = PLANS.index(to_plan) - PLANS.index(plan)
    if steps == 0 and interval == to_interval:
        return "none"
    return "now" if steps > 0 or (steps == 0 and to_interval == "year") else "at_period_end"


async def preview(services: "Services", *, user_id: UUID, plan: PaidPlan, interval: Interval, now: datetime) -> Preview:
    """Return what a change costs now; the next step sends its amount and its instant.

    Raises:
        Problem: as `change`, without those of the payment.
    """
    planned = await _plan(services, user_id=user_id, plan=plan, interval=interval)
    at = now.replace(microsecond=0)
    period_end = planned.subscription.period_end
    return Preview(
        effect=planned.effect,
        due=await _due(services, planned, at) if planned.effect == "now" else 0,
        currency=planned.subscription.price.currency,
        unit_amount=planned.price.unit_amount,
        proration_at=at,
        effective_at=period_end if planned.effect == "at_period_end" else at,
    )


async def change(
    services: "Services",
    *,
    user_id: UUID,
    plan: PaidPlan,
    interval: Interval,
    expected_due: int | None,
    proration_at: datetime | None,
    key: str,
    now: datetime,
) -> None:
    """Change the plan or the interval.

    Args:
        services: the process's.
        user_id: the account.
        plan: what it gets.
        interval: how often it pays.
        expected_due: of a preview, if it is an upgrade.
        proration_at: of the same preview.
        key: Stripe does what has the same key once.
        now: the instant.

    Raises:
        Problem: `subscription.none`, `canceling`, `past_due`, `transition_refused`; `plan.price_changed`,
            `preview.expired`; `payment.action_required`, `payment.declined`; and those of `Stripe.call`.
    """
    planned = await _plan(services, user_id=user_id, plan=plan, interval=interval)
    subscription, changed = planned.subscription, None
    if planned.effect == "now":
        at = await _check_preview(services, planned, expected_due, proration_at, now)
        await _drop_schedule(services, subscription)
        changed = await _upgrade(services, planned, at, key)
    elif planned.effect == "at_period_end":
        await _schedule(services, planned)
    else:
        await _drop_schedule(services, subscription)
    await sync_now(services, kind="subscription", provider_id=subscription.id)
    if changed and changed.has_pending_update:
        invoice = changed.latest_invoice
        raise problems.action_required(invoice.hosted_url if invoice else None)


async def cancel(services: "Services", *, user_id: UUID, at_once: bool) -> None:
    """Let the subscription end with its period; or end it now, without a refund. Repeating it changes nothing.

    Raises:
        Problem: `subscription.none`, `subscription.transition_refused`, and those of `Stripe.call`.
    """
    row = await _live(services, user_id)
    if at_once:
        await ends.cancel(services, row.provider_id)  # the sync has the open invoices voided
    else:
        subscription = await _fetch(services, row)
        if subscription.status not in {"active", "trialing", "past_due"}:
            raise problems.transition_refused(subscription.status, ["cancel_immediately"])
        await _drop_schedule(services, subscription)
        await _set_canceling(services, subscription, value=True)
    await sync_now(services, kind="subscription", provider_id=row.provider_id)


async def reactivate(services: "Services", *, user_id: UUID) -> None:
    """Take a cancellation back, before the period ends. A repetition whose first answer was lost changes nothing.

    Raises:
        Problem: `subscription.none`, `subscription.ended`, `subscription.not_canceling`, and those of `Stripe.call`.
    """
    if await services.database.fetch_one(LIVE_ROW, LiveRow, owner_id=user_id) is None and await _had_one(
        services, user_id
    ):
        raise problems.subscription_ended()
    row = await _live(services, user_id)
    subscription = await _fetch(services, row)
    if subscription.cancel_at_period_end:
        await _set_canceling(services, subscription, value=False)
    elif not row.cancel_at_period_end:
        raise problems.subscription_not_canceling()
    await sync_now(services, kind="subscription", provider_id=subscription.id)


async def _had_one(services: "Services", user_id: UUID) -> bool:
    return await services.database.fetch_value(ANY, owner_id=user_id) is not None


async def _live(services: "Services", user_id: UUID) -> LiveRow:
    row = await services.database.fetch_one(LIVE_ROW, LiveRow, owner_id=user_id)
    if row is None:
        raise problems.subscription_none()
    return row


async def _fetch(services: "Services", row: LiveRow) -> StripeSubscription:
    """Return the subscription as Stripe has it now.

    Raises:
        Problem: `subscription.ended`.
    """
    fetched = await syncs.fetch(services, row.provider_id)
    if fetched is None or fetched.subscription.ended_at is not None:
        await sync_now(services, kind="subscription", provider_id=row.provider_id)
        raise problems.subscription_ended()
    return fetched.subscription


async def _plan(services: "Services", *, user_id: UUID, plan: PaidPlan, interval: Interval) -> Change:
    row = await _live(services, user_id)
    subscription = await _fetch(services, row)
    if subscription.price.id != row.price_id:  # Stripe has changed it, but the event has not arrived
        await sync_now(services, kind="subscription", provider_id=subscription.id)
        row = await _live(services, user_id)
    if subscription.status == "past_due":
        raise problems.subscription_past_due()
    if subscription.status not in {"active", "trialing"}:
        raise problems.transition_refused(subscription.status, ["cancel_immediately"])
    if subscription.cancel_at_period_end:
        raise problems.subscription_canceling()
    price = await services.database.fetch_one(
        prices.FOR_SALE, OfferedRow, plan=plan, interval=interval, currency=subscription.price.currency
    )
    effect = effect_of(row.plan, row.interval, to_plan=plan, to_interval=interval)
    if effect == "none":  # its price may not be sold any more
        price = OfferedRow(subscription.price.id, subscription.price.unit_amount)
    if price is None:
        raise problems.not_for_sale()
    is_higher = PLANS.index(plan) > PLANS.index(row.plan)
    return Change(
        subscription=subscription,
        effect=effect,
        price=price,
        ends_trial=is_higher and subscription.status == "trialing",
    )


async def _due(services: "Services", change: Change, at: datetime) -> int:
    parameters: Any = {"subscription": change.subscription.id, "subscription_details": change.items(at)}
    draft = await _at_stripe(
        services,
        change.subscription,
        lambda: services.stripe.call("invoice_preview", lambda v1: v1.invoices.create_preview_async(parameters)),
    )
    return read_invoice(draft).due


async def _check_preview(
    services: "Services", change: Change, expected_due: int | None, proration_at: datetime | None, now: datetime
) -> datetime:
    if expected_due is None or proration_at is None:
        raise problems.preview_missing()
    at = proration_at.astimezone(UTC)
    # A retry may come late: what Stripe has changed by then, it has charged at the same instant.
    if not now - PREVIEW_LASTS <= at <= now or at < change.subscription.period_start:
        raise problems.preview_expired()
    due = await _due(services, change, at)
    if due != expected_due:
        raise problems.price_changed(due)
    return at


async def _upgrade(services: "Services", change: Change, at: datetime, key: str) -> StripeSubscription:
    parameters: Any = change.items(at) | {"payment_behavior": "pending_if_incomplete", "expand": ["latest_invoice"]}
    thing = await _at_stripe(
        services,
        change.subscription,
        lambda: services.stripe.call(
            "subscription_update",
            lambda v1: v1.subscriptions.update_async(change.subscription.id, parameters, {"idempotency_key": key}),
        ),
    )
    return read_subscription(thing)


async def _schedule(services: "Services", change: Change) -> None:
    """Plan the change for the end of the period. What was planned before is replaced."""
    subscription, price = change.subscription, change.price

    async def plan() -> None:
        schedule_id = subscription.schedule_id
        if schedule_id is None:
            created = await services.stripe.call(
                "schedule_create",
                lambda v1: v1.subscription_schedules.create_async({"from_subscription": subscription.id}),
            )
            schedule_id = str(created.id)
        phases: Any = [
            {
                "items": [{"price": subscription.price.id, "quantity": 1}],
                "start_date": int(subscription.period_start.timestamp()),
                "end_date": int(subscription.period_end.timestamp()),
            },
            {"items": [{"price": price.price_id, "quantity": 1}], "proration_behavior": "none"},
        ]
        await services.stripe.call(
            "schedule_update",
            lambda v1: v1.subscription_schedules.update_async(
                schedule_id, {"phases": phases, "end_behavior": "release"}
            ),
        )

    await _at_stripe(services, subscription, plan)


async def _drop_schedule(services: "Services", subscription: StripeSubscription) -> None:
    if (schedule := subscription.schedule_id) is not None:
        await _at_stripe(
            services,
            subscription,
            lambda: services.stripe.call(
                "schedule_release", lambda v1: v1.subscription_schedules.release_async(schedule)
            ),
        )


async def _set_canceling(services: "Services", subscription: StripeSubscription, *, value: bool) -> None:
    await _at_stripe(
        services,
        subscription,
        lambda: services.stripe.call(
            "subscription_cancel_at_period_end",
            lambda v1: v1.subscriptions.update_async(subscription.id, {"cancel_at_period_end": value}),
        ),
    )


async def _at_stripe[Result](
    services: "Services", subscription: StripeSubscription, make: "Callable[[], Awaitable[Result]]"
) -> Result:
    """Make a change at Stripe; if it is refused there, the subscription has changed meanwhile.

    Raises:
        Problem: `subscription.transition_refused`.
    """
    try:
        return await make()
    except RefusedError:
        await sync_now(services, kind="subscription", provider_id=subscription.id)
        raise problems.transition_refused(subscription.status, []) from None
