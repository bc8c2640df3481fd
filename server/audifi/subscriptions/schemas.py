"""Request and response schemas."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from audifi.auth.schemas import LocalPath
from audifi.core.http.schemas import MAX_AMOUNT, Amount, Id, Instant, Page, RequestInstant, RequestModel, ResponseModel
from audifi.ledger.schemas import Reason
from audifi.subscriptions.models import Interval, SubscriptionStatus
from audifi.subscriptions.plans import LimitKey, PaidPlan, PlanFeature, PlanName

Later = Annotated[datetime | None, Field(examples=["2026-12-31T12:00:00Z"])]
IntervalName = Annotated[Interval, Field(examples=["month"])]
UnitAmount = Annotated[int, Field(examples=[2900])]
Currency = Annotated[str, Field(examples=["USD"])]
CurrencyCode = Annotated[str, Field(pattern="^[A-Z]{3}$", examples=["USD"])]
NonNegative = Annotated[int, Field(strict=True, ge=0, le=MAX_AMOUNT, examples=[8512])]


class Price(ResponseModel):
    """What a plan costs."""

    interval: IntervalName
    """How often it is paid."""
    currency: Currency
    """ISO 4217."""
    unit_amount: UnitAmount
    """For one interval, in base units, without tax."""


class Limits(ResponseModel):
    """How much of something a plan allows; null for no limit of the plan."""

    masters: int | None = Field(examples=[1])
    """Masters that aren't archived."""
    studio_sessions: int | None = Field(examples=[1])
    """Studio sessions in a month, in UTC."""
    decisions_per_session: int = Field(examples=[10])
    """Decisions in one studio session."""


class Entitlements(ResponseModel):
    """What a plan contains."""

    plan: PlanName = Field(examples=["PRO"])
    """The plan."""
    limits: Limits
    """How much it allows."""
    features: list[PlanFeature] = Field(examples=[["royalty_terms", "hd"]])
    """What it can do, in alphabetical order."""


class Plan(ResponseModel):
    """A plan that is sold, or the free one."""

    id: PlanName = Field(examples=["PRO"])
    """Its name."""
    prices: list[Price]
    """Empty if it is free, or can't be bought now."""
    entitlements: Entitlements
    """What it contains."""
    services: list[str] = Field(examples=[["Support by e-mail"]])
    """What people do for its accounts; text to show."""


class PlanList(ResponseModel):
    """The plans."""

    data: list[Plan]
    """From the lowest to the highest."""


class PlannedChange(ResponseModel):
    """What a subscription becomes."""

    plan: PaidPlan = Field(examples=["PRO"])
    """The plan from then on."""
    interval: IntervalName
    """How often it is paid from then on."""
    at: Instant
    """When."""


class PaidSubscription(ResponseModel):
    """The newest subscription of an account."""

    plan: PaidPlan = Field(examples=["PRO"])
    """What is paid for."""
    status: SubscriptionStatus = Field(examples=["active"])
    """Stripe's status; `unknown` is one that this version doesn't know."""
    interval: IntervalName
    """How often it is paid."""
    currency: Currency
    """ISO 4217."""
    unit_amount: UnitAmount
    """For one interval, in base units, without tax."""
    period_start: Instant
    """When the period began that is or was paid last."""
    period_end: Instant
    """When it ends."""
    trial_end: Later
    """When the trial ends or ended; null if there was none."""
    cancel_at_period_end: bool = Field(examples=[False])
    """Whether it ends then."""
    past_due_since: Later
    """Since when an invoice is open; null if none is."""
    pending: PlannedChange | None
    """What it becomes; null if nothing is planned."""
    access_until: Instant
    """Until when its plan is in force, if nothing more is paid."""


class Subscription(ResponseModel):
    """The plan of an account, and what it pays for."""

    plan: PlanName = Field(examples=["PRO"])
    """The plan in force: the highest of the subscription and what operators granted."""
    subscription: PaidSubscription | None
    """The newest one, which may have ended; null if there was none."""


class Usage(ResponseModel):
    """How much of a limit is used."""

    key: LimitKey = Field(examples=["masters"])
    """What is counted."""
    used: int = Field(examples=[1])
    """How much."""
    limit: int | None = Field(examples=[1])
    """What the plan allows; null for no limit."""
    over_limit: bool = Field(examples=[False])
    """Whether it is more than the plan allows. Nothing is taken away; what is new is refused."""
    resets_at: Later
    """When the count begins anew; null if it counts what exists."""


class UsageList(ResponseModel):
    """What an account uses."""

    plan: PlanName = Field(examples=["PRO"])
    """The plan in force."""
    data: list[Usage]
    """One for each limit."""


class GrantCreate(RequestModel):
    """A plan for an account."""

    user_id: UUID = Field(examples=["01930b5a-7c1e-7d3f-8a52-6f0e4b9c2d17"])
    """The account."""
    plan: PaidPlan = Field(examples=["PRO"])
    """What it gets."""
    ends_at: Annotated[RequestInstant, Field(examples=["2027-12-31T12:00:00Z"])]
    """Until when; from now on."""
    reason: Reason
    """Why; only operators see it."""


class Grant(ResponseModel):
    """A plan that an operator gave."""

    id: Id
    """Permanent id."""
    user_id: Id
    """The account."""
    plan: PaidPlan = Field(examples=["PRO"])
    """What it gets."""
    reason: str = Field(examples=["Paid by bank transfer, invoice 17"])
    """Why."""
    starts_at: Instant
    """Since when."""
    ends_at: Instant
    """Until when."""


class SubscriptionStart(RequestModel):
    """A plan that an account wants to buy."""

    plan: PaidPlan = Field(examples=["PRO"])
    """What is bought. FREE needs no purchase."""
    interval: IntervalName
    """How often it is paid."""
    currency: CurrencyCode
    """One that the plan has a price in."""
    expected_amount: Amount
    """The `unit_amount` that the person was shown."""
    success_path: LocalPath
    """Where the page leads back to after the payment: a path of the frontend. `checkout` is added to its query."""
    cancel_path: LocalPath
    """The same, where the person goes back without paying."""


class SubscriptionChange(RequestModel):
    """Another plan or interval."""

    plan: PaidPlan = Field(examples=["ENTERPRISE"])
    """The plan. To go back to FREE, cancel."""
    interval: IntervalName
    """How often it is paid."""
    expected_due: NonNegative | None = None
    """`amount_due` of a preview; needed if the change happens now."""
    proration_at: Annotated[RequestInstant | None, Field(examples=["2026-12-31T12:00:00Z"])] = None
    """Of the same preview, at most 10 minutes ago."""


class ChangePreview(ResponseModel):
    """What a change of plan or interval costs."""

    effect: Literal["none", "now", "at_period_end"] = Field(examples=["now"])
    """`now` for a higher plan, or a year in place of a month; `none`: it is what the account has."""
    amount_due: int = Field(examples=[8512])
    """What is charged now, in base units, with tax; Stripe has computed it."""
    currency: Currency
    """ISO 4217."""
    unit_amount: UnitAmount
    """The price from then on, for one interval, without tax."""
    proration_at: Instant
    """The instant for which it was computed. Send it with the change."""
    effective_at: Instant
    """When the change happens."""


type HistoryType = Literal["subscription", "deposit", "refund", "dispute", "payout"]


class HistoryItem(ResponseModel):
    """Money that came in or went out."""

    id: Id
    """Permanent id."""
    type: HistoryType = Field(examples=["deposit"])
    """What it is; `subscription`: an invoice of the plan."""
    status: str = Field(examples=["succeeded"])
    """
    Of a `subscription`: open, paid, void, uncollectible. Of a `dispute`: open, lost, won. Of a `deposit`, `refund` or
    `payout`: as where these are listed or made.
    """
    amount: Amount
    """In base units."""
    currency: Currency
    """ISO 4217."""
    created_at: Instant
    """Time at which it was recorded."""


class HistoryPage(Page[HistoryItem]):
    """Payments, newest first."""
