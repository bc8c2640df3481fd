"""Request and response schemas."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, Field, StringConstraints

from audifi.compliance.models import Action, ChangeKind, Kyc
from audifi.core.http.schemas import Amount, Id, Instant, Page, RequestModel, ResponseModel
from audifi.ledger.schemas import Reason

Country = Annotated[str, Field(pattern="^[A-Z]{2}$", examples=["DE"])]
"""ISO 3166-1 alpha-2."""
Countries = Annotated[
    list[Country],
    Field(max_length=250, examples=[["US"]]),
    AfterValidator(lambda countries: sorted(set(countries))),
]
KycRef = Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]{1,100}$"), Field(examples=["check_9f3c2a1b"])]
Bps = Annotated[int, Field(strict=True, ge=0, le=10_000, examples=[1500])]


class AccountComplianceUpdate(RequestModel):
    """What is known of the person behind an account."""

    kyc: Kyc = Field(examples=["verified"])
    """How far the verification of the identity is."""
    kyc_ref: KycRef | None = None
    """The verification's id at its provider; printable ASCII."""
    country: Country | None = None
    """Where the person resides; null if it isn't known."""
    is_frozen: Annotated[bool, Field(strict=True, examples=[False])]
    """True lets nothing leave the account. It still receives."""
    reason: Reason
    """Why it is changed; only operators see it."""


class AccountCompliance(ResponseModel):
    """What is known of the person behind an account."""

    user_id: Id
    """The account."""
    kyc: Kyc = Field(examples=["verified"])
    """How far the verification of the identity is."""
    kyc_ref: str | None = Field(examples=["check_9f3c2a1b"])
    """The verification's id at its provider."""
    country: str | None = Field(examples=["DE"])
    """ISO 3166-1 alpha-2; null if it isn't known."""
    frozen_at: datetime | None = Field(examples=["2026-01-31T12:00:00.123456Z"])
    """Since when nothing may leave the account; null if it isn't frozen."""
    version: int = Field(examples=[3])
    """Changes with each change, from 0; send it as `If-Match`."""


class RuleUpdate(RequestModel):
    """What an action requires of an account."""

    kyc_required: Annotated[bool, Field(strict=True, examples=[True])]
    """Whether the identity must be verified."""
    countries_blocked: Countries
    """People who reside there, or whose country isn't known, are refused. Empty: any country is allowed."""
    amount_per_12_months: Amount | None = None
    """What an account may do in 12 months, in base units of each currency by itself; null for no limit."""
    reason: Reason
    """Why it is changed; only operators see it."""


class Rule(ResponseModel):
    """What an action requires of an account."""

    action: Action = Field(examples=["buy"])
    """`launch` an offering, `buy` in one, `list` shares, `resale_buy`, `claim` dividends, or request a `payout`."""
    kyc_required: bool = Field(examples=[True])
    """Whether the identity must be verified."""
    countries_blocked: list[str] = Field(examples=[["US"]])
    """ISO 3166-1 alpha-2, in order."""
    amount_per_12_months: int | None = Field(examples=[500000])
    """What an account may do in 12 months, in base units of each currency by itself; null for no limit."""
    version: int = Field(examples=[3])
    """Changes with each change, from 0; send it as `If-Match`."""


class RuleList(ResponseModel):
    """The rules of all actions."""

    data: list[Rule]
    """One for each action."""


class WithholdingRateUpdate(RequestModel):
    """What is withheld from a claim."""

    bps: Bps
    """In hundredths of a percent."""
    reason: Reason
    """Why it is changed; only operators see it."""


class WithholdingRate(ResponseModel):
    """What is withheld from the claims of people in a country."""

    country: str = Field(examples=["DE"])
    """ISO 3166-1 alpha-2."""
    bps: int = Field(examples=[1500])
    """In hundredths of a percent."""


class WithholdingRateList(ResponseModel):
    """The countries with a rate. Nothing is withheld from others."""

    data: list[WithholdingRate]
    """In the order of the countries."""


class Change(ResponseModel):
    """A change of an account, a rule or a rate."""

    kind: ChangeKind = Field(examples=["account"])
    """What was changed."""
    subject: str = Field(examples=["01930b5a-7c1e-7d3f-8a52-6f0e4b9c2d17"])
    """The account's id, the action or the country."""
    changed_by: UUID | None = Field(examples=["01930b5a-7c1e-7d3f-8a52-6f0e4b9c2d17"])
    """The administrator; null for an operator at a console."""
    operator: str | None = Field(examples=["kim"])
    """The operator at a console; null for an administrator."""
    reason: str = Field(examples=["Court order 12/26"])
    """Why."""
    old: dict[str, Any] | None = Field(examples=[{"kyc": "pending", "country": None}])
    """The values before; null for the first change."""
    new: dict[str, Any] = Field(examples=[{"kyc": "verified", "country": "DE"}])
    """The values since then."""
    at: Instant
    """When."""


class ChangePage(Page[Change]):
    """Changes, the newest first."""
