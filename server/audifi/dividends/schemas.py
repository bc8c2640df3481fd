"""Request and response schemas."""

from datetime import date
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from audifi.core.http.schemas import Amount, Id, Instant, Page, RequestInstant, RequestModel, ResponseModel
from audifi.dividends.models import DistributionStatus, Payer, RevenueSource, RevenueStatus


def _printable(value: str) -> str:
    if not value.isprintable():
        raise ValueError("must not contain control characters")
    return value


Currency = Annotated[str, Field(pattern="^[A-Z]{3}$", examples=["USD"])]
"""ISO 4217."""
Total = Annotated[int, Field(examples=[125000])]
"""In base units."""
Provider = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=100),
    AfterValidator(_printable),
    Field(examples=["DistroKid"]),
]
ExternalRef = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=200),
    AfterValidator(_printable),
    Field(examples=["2026-03 payout 4711"]),
]
BankReference = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=100),
    AfterValidator(_printable),
    Field(examples=["BANK-2026-05-03-0042"]),
]
Reason = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=200),
    AfterValidator(_printable),
    Field(examples=["Bank statement of 3 May, line 42"]),
]


class RevenueCreate(RequestModel):
    """Revenue that a provider has reported."""

    master_id: Id
    """The master that earned it."""
    source: Literal["streaming", "sale", "license", "merchandise", "manual"] = Field(examples=["streaming"])
    """Where it comes from."""
    amount: Amount
    """Net, in base units."""
    currency: Currency
    """One of the platform's currencies."""
    period_start: date = Field(examples=["2026-03-01"])
    """The first day of the period in which it was earned."""
    period_end: date = Field(examples=["2026-03-31"])
    """The last day of it."""
    provider: Provider
    """The distributor, label or shop that reports it."""
    external_ref: ExternalRef
    """The provider's number of it. It is recorded once per offering and provider."""

    @model_validator(mode="after")
    def _check_period(self) -> Self:
        if self.period_start > self.period_end:
            raise ValueError("period_start must not be after period_end")
        return self


class Revenue(ResponseModel):
    """Revenue of a master."""

    id: Id
    """Permanent id."""
    source: RevenueSource = Field(examples=["streaming"])
    """Where it comes from."""
    amount: Amount
    """In base units."""
    currency: Currency
    """ISO 4217."""
    period_start: date = Field(examples=["2026-03-01"])
    """The first day of the period in which it was earned."""
    period_end: date = Field(examples=["2026-03-31"])
    """The last day of it."""
    provider: str = Field(examples=["DistroKid"])
    """The distributor, label or shop that reported it."""
    external_ref: str = Field(examples=["2026-03 payout 4711"])
    """The provider's number of it."""
    statement_id: Id | None
    """The royalty statement that it was read from; null for a single event."""
    status: RevenueStatus = Field(examples=["recorded"])
    """`recorded` becomes `funded` once its money is there, and `distributed` at the record time."""
    funded_from: Payer | None = Field(examples=["artist"])
    """`artist`: the artist's balance, or the royalty of a resale; `receipt`: money that an admin saw coming in; null:
    nothing was paid yet."""
    distribution_id: Id | None
    """The distribution that was declared of it; null before."""
    created_at: Instant
    """Time at which it was recorded."""


class RevenuePage(Page[Revenue]):
    """Revenue, newest first."""


class Receipt(RequestModel):
    """Money for the revenue that an admin saw coming in."""

    reference: BankReference
    """The bank's reference of it."""
    reason: Reason
    """Where the admin saw it; only operators see it."""


class RevenueProcess(RequestModel):
    """How revenue is funded, and when it is shared out."""

    receipt: Receipt | None = None
    """For admins: what paid it. Null: the artist's available balance does."""
    record_at: RequestInstant | None = Field(default=None, examples=["2026-05-10T12:00:00Z"])
    """When it is shared out, at most 90 days from now. Null: as soon as the notice has passed."""


class Distribution(ResponseModel):
    """Revenue that is shared out among the platform, the holders and the artist."""

    id: Id
    """Permanent id."""
    status: DistributionStatus = Field(examples=["declared"])
    """`declared` until the record time, then `posted`; or `canceled` before."""
    currency: Currency
    """ISO 4217."""
    gross: Amount
    """The sum of its revenue, in base units."""
    platform: Total
    """The platform's part."""
    artist: Total
    """The artist's part, with what rounding leaves."""
    holders: Amount
    """The part of all holders together: a share gets one part of as many as there are shares."""
    declared_at: Instant
    """Time of the declaration."""
    record_at: Instant
    """The holders of shares at this time get the parts of their shares."""
    posted_at: Instant | None
    """Time at which it was shared out; null before."""


class RevenueSummaryEntry(ResponseModel):
    """Revenue in a currency."""

    currency: Currency
    """ISO 4217."""
    recorded: Total
    """Not funded yet."""
    funded: Total
    """Funded and not shared out yet."""
    distributed: Total
    """Shared out."""
    platform: Total
    """The platform's part of what was shared out."""
    artist: Total
    """The artist's part of it."""
    holders: Total
    """The holders' part of it."""


class RevenueSummary(ResponseModel):
    """Revenue by currency."""

    data: list[RevenueSummaryEntry]
    """At most one per currency."""


class Claimable(ResponseModel):
    """What the account can claim of a master's dividends in a currency."""

    master_id: Id
    """The master."""
    title: str = Field(examples=["Night drive"])
    """Of the master."""
    currency: Currency
    """ISO 4217."""
    shares: int = Field(examples=[10])
    """Shares that the account holds now; 0 if it has sold all since."""
    amount: Amount
    """In base units. Fractions stay, and add up."""
    withheld: Total
    """The part of it that a claim withholds for tax."""
    next_record_at: Instant | None
    """When the next declared distribution of the master is shared out; null if there is none."""


class ClaimablePage(Page[Claimable]):
    """What can be claimed, by master and currency."""


class ClaimCreate(RequestModel):
    """What is claimed."""

    master_id: Id | None = None
    """Only of this master; null: of up to 100 masters and currencies."""


class PaidClaim(ResponseModel):
    """What was paid of a master's dividends in a currency."""

    master_id: Id
    """The master."""
    currency: Currency
    """ISO 4217."""
    amount: Amount
    """In base units, with what was withheld."""
    withheld: Total
    """Withheld for tax."""
    transfer_id: Id
    """In the ledger."""


class ClaimResult(ResponseModel):
    """What was paid. A debt of the account was paid first."""

    data: list[PaidClaim]
    """At most 100."""
    has_more: bool = Field(examples=[False])
    """Whether there is more to claim, by another request."""


class Claim(ResponseModel):
    """A claim that was paid."""

    transfer_id: Id
    """In the ledger."""
    master_id: Id
    """The master."""
    title: str = Field(examples=["Night drive"])
    """Of the master."""
    currency: Currency
    """ISO 4217."""
    amount: Amount
    """In base units, with what was withheld."""
    withheld: Total
    """Withheld for tax."""
    created_at: Instant
    """Time of the claim."""


class ClaimPage(Page[Claim]):
    """Claims, newest first."""


class DividendSummaryEntry(ResponseModel):
    """The account's dividends in a currency."""

    currency: Currency
    """ISO 4217."""
    claimable: Total
    """What can be claimed now."""
    claimed: Total
    """What was claimed, with what was withheld."""
    withheld: Total
    """What was withheld of it."""
    claims: int = Field(examples=[12])
    """How many claims there were."""


class DividendSummary(ResponseModel):
    """The account's dividends by currency."""

    data: list[DividendSummaryEntry]
    """At most one per currency."""


class PoolState(ResponseModel):
    """A master's pool in a currency."""

    id: Id
    """Permanent id."""
    currency: Currency
    """ISO 4217."""
    distributed: Total
    """What all holders together have got, in base units."""
    claimed: Total
    """What they have claimed of it."""
    unclaimed: Total
    """What is in the pool. It never expires."""
    per_share: str = Field(examples=["12.345678901"])
    """What one share has got from the beginning, in base units: a decimal number with nine places."""


class DividendContract(ResponseModel):
    """How a master's revenue is shared out, and what was."""

    master_id: Id
    """The master."""
    total_shares: int = Field(examples=[1000])
    """A share gets one part of so many of the holders' part."""
    holders_bps: int = Field(examples=[5000])
    """The holders' part of revenue, in hundredths of a percent."""
    platform_bps: int = Field(examples=[1000])
    """The platform's part; the rest is the artist's."""
    pools: list[PoolState]
    """One per currency in which something was declared."""
    next_record_at: Instant | None
    """When the next declared distribution is shared out; null if there is none."""
    distributions: list[Distribution]
    """The newest 20."""
