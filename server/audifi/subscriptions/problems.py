"""Refusals by the account's plan. Their codes are part of the contract."""

from datetime import UTC, datetime

from pydantic import Field

from audifi.core.http.problems import FieldError, Problem, ProblemDetails, invalid
from audifi.subscriptions.models import SubscriptionStatus
from audifi.subscriptions.plans import LimitKey, PlanFeature, PlanName, plan_above, plan_with_feature


class FeatureRequired(ProblemDetails):
    """The account's plan doesn't have a feature."""

    feature: PlanFeature = Field(examples=["royalty_terms"])
    """What it lacks."""
    plan_needed: PlanName = Field(examples=["PRO"])
    """The lowest plan that has it."""


class LimitReached(ProblemDetails):
    """The account has used all that its plan allows."""

    key: LimitKey = Field(examples=["masters"])
    """What is limited."""
    limit: int = Field(examples=[1])
    """What the plan allows."""
    used: int = Field(examples=[1])
    """What is used; more than the limit after a change to a lower plan."""
    resets_at: datetime | None = Field(examples=["2026-12-01T00:00:00Z"])
    """When the count begins anew; null if it counts what exists."""
    plan_needed: PlanName | None = Field(examples=["PRO"])
    """The lowest plan that allows more; null if there is none."""


def feature_required(feature: PlanFeature) -> Problem:
    plan = plan_with_feature(feature)
    return Problem(
        403,
        "plan.feature_required",
        "Feature not in plan",
        f"Subscribe to {plan}, which has it.",
        model=FeatureRequired,
        feature=feature,
        plan_needed=plan,
    )


def limit_reached(*, key: LimitKey, limit: int, used: int, resets_at: datetime | None) -> Problem:
    return Problem(
        403,
        "plan.limit_reached",
        "Limit of plan reached",
        "Subscribe to `plan_needed`, release what you no longer need, or wait until `resets_at`.",
        model=LimitReached,
        key=key,
        limit=limit,
        used=used,
        resets_at=resets_at,
        plan_needed=plan_above(key, limit),
    )


LIMIT_OF_MASTERS = limit_reached(key="masters", limit=1, used=1, resets_at=None)
"""For `@raises` of the routes that ask."""
LIMIT_OF_SESSIONS = limit_reached(key="studio_sessions", limit=1, used=1, resets_at=datetime(2026, 12, 1, tzinfo=UTC))


def unknown_user() -> Problem:
    return invalid([FieldError(code="unknown", detail="It is no account's id", pointer="/user_id")])


def ends_in_past() -> Problem:
    return invalid([FieldError(code="datetime_future", detail="End should be in the future", pointer="/ends_at")])


class PlanPriceChanged(ProblemDetails):
    """The price isn't what the person was shown."""

    amount: int = Field(examples=[2900])
    """What is due now, in base units, without tax."""


class TransitionRefused(ProblemDetails):
    """The subscription's status doesn't allow the change."""

    subscription_status: SubscriptionStatus = Field(examples=["unpaid"])
    """Its status."""
    allowed: list[str] = Field(examples=[["cancel_immediately"]])
    """What can be done in this status."""


class ActionRequired(ProblemDetails):
    """The payment needs the person: the plan changes once it is paid."""

    url: str | None = Field(examples=["https://invoice.stripe.com/i/acct_1/test_1"])
    """The page on which it is paid; within 23 hours."""


def subscription_exists() -> Problem:
    return Problem(409, "subscription.exists", "Subscription exists", "Change the account's subscription by PATCH.")


def subscription_none() -> Problem:
    return Problem(409, "subscription.none", "No subscription", "The account has none that runs. Subscribe first.")


def subscription_ended() -> Problem:
    return Problem(409, "subscription.ended", "Subscription ended", "It can't be continued. Subscribe again.")


def subscription_not_canceling() -> Problem:
    return Problem(409, "subscription.not_canceling", "Not canceled", "It goes on as it is.")


def subscription_canceling() -> Problem:
    return Problem(409, "subscription.canceling", "Subscription canceled", "Reactivate it before you change it.")


def subscription_past_due() -> Problem:
    return Problem(409, "subscription.past_due", "Payment overdue", "Pay the open invoice before you change the plan.")


def transition_refused(status: SubscriptionStatus, allowed: list[str]) -> Problem:
    return Problem(
        409,
        "subscription.transition_refused",
        "Change not possible",
        "Do what is `allowed` in this status.",
        model=TransitionRefused,
        subscription_status=status,
        allowed=allowed,
    )


def price_changed(amount: int) -> Problem:
    return Problem(
        409,
        "plan.price_changed",
        "Price changed",
        "Show the person the new amount, and ask again.",
        model=PlanPriceChanged,
        amount=amount,
    )


def preview_expired() -> Problem:
    return Problem(409, "preview.expired", "Preview expired", "Get another preview: it is good for 10 minutes.")


def action_required(url: str | None) -> Problem:
    return Problem(
        402,
        "payment.action_required",
        "Payment needs action",
        "Send the person to `url`. The plan changes once it is paid.",
        model=ActionRequired,
        url=url,
    )


def not_for_sale() -> Problem:
    return invalid(
        [FieldError(code="not_for_sale", detail="It isn't sold at this interval and currency", pointer="/plan")]
    )


def preview_missing() -> Problem:
    return invalid(
        [
            FieldError(code="missing", detail="An upgrade needs both, of a preview", pointer=f"/{name}")
            for name in ("expected_due", "proration_at")
        ]
    )
