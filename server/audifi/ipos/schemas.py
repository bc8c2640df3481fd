"""Request and response schemas."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from audifi.compliance.schemas import Countries
from audifi.core.http.schemas import Amount, Id, Instant, Page, RequestInstant, RequestModel, ResponseModel
from audifi.ipos.splits import DEFAULT_ROYALTY, Royalty
from audifi.masters.models import MasterType

MAX_SHARES = 1_000_000
MAX_QUANTITY = 10_000
MAX_UNIT_PRICE = 100_000_000

Shares = Annotated[int, Field(strict=True, ge=1, le=MAX_SHARES, examples=[1000])]
Quantity = Annotated[int, Field(strict=True, ge=1, le=MAX_QUANTITY, examples=[10])]
UnitPrice = Annotated[int, Field(strict=True, ge=1, le=MAX_UNIT_PRICE, examples=[2500])]
HoldersBps = Annotated[int, Field(strict=True, ge=100, le=9000, examples=[5000])]
Days = Annotated[int, Field(strict=True, ge=0, le=730, examples=[30])]
Hours = Annotated[int, Field(strict=True, ge=0, le=240, examples=[48])]
CurrencyCode = Annotated[str, Field(pattern="^[A-Z]{3}$", examples=["USD"])]
Status = Literal["draft", "scheduled", "live", "ended", "paused", "completed", "canceling", "canceled"]
ListedStatus = Literal["scheduled", "live", "ended", "paused", "completed"]
SerialRange = Annotated[tuple[int, int], Field(examples=[[1, 10]])]
"""The first and the last serial."""


class IpoTerms(RequestModel):
    """The terms of an offering. They can be changed until it is launched."""

    currency: CurrencyCode
    """ISO 4217; one of the API's currencies."""
    total_shares: Shares
    """All shares of the master. Each is `1 / total_shares` of the holders' part of the revenue, without end."""
    retained_shares: Annotated[int, Field(strict=True, ge=0, lt=MAX_SHARES, examples=[200])] = 0
    """The shares that the artist keeps; the others are offered."""
    unit_price: UnitPrice
    """The price of a share, in base units of the currency."""
    max_per_account: Shares
    """How many shares an account may buy."""
    min_shares: Annotated[int, Field(strict=True, ge=0, le=MAX_SHARES, examples=[100])] = 0
    """If fewer are sold at the end, everybody is refunded."""
    holders_bps: HoldersBps = 5000
    """The holders' part of the revenue, in hundredths of a percent."""
    royalty: Royalty = Field(DEFAULT_ROYALTY, examples=[DEFAULT_ROYALTY.model_dump()])
    """The parties of each resale, and their parts."""
    royalty_to_holders_bps: Annotated[int, Field(strict=True, ge=0, le=10_000, examples=[0])] = 0
    """The part of the artist's royalty that goes to all holders."""
    lockup_days: Days = 0
    """How long a share can't be resold after its purchase."""
    reflection_hours: Hours = 0
    """How long a buyer may withdraw from a purchase."""
    countries_blocked: Countries = Field(default_factory=list)
    """People who reside there, or whose country isn't known, can't buy these shares, now or later. Empty: all can."""
    opens_at: RequestInstant = Field(examples=["2026-12-01T18:00:00Z"])
    """When purchases begin."""
    allowlist_until: RequestInstant | None = Field(default=None, examples=["2026-12-02T18:00:00Z"])
    """Before this instant, only accounts on the allowlist may buy."""
    ends_at: RequestInstant = Field(examples=["2026-12-31T18:00:00Z"])
    """When purchases end, at most 90 days after they began."""


class Ipo(ResponseModel):
    """An offering of a master's shares."""

    id: Id
    """The offering."""
    master_id: Id
    """Whose shares are offered."""
    status: Status = Field(examples=["live"])
    """`scheduled` until it opens, `ended` until it is settled after its end."""
    currency: CurrencyCode
    """ISO 4217."""
    total_shares: int = Field(examples=[1000])
    """All shares of the master."""
    retained_shares: int = Field(examples=[200])
    """The shares that the artist keeps."""
    offered: int = Field(examples=[800])
    """The shares that are sold."""
    unit_price: int = Field(examples=[2500])
    """In base units of the currency."""
    max_per_account: int = Field(examples=[100])
    """How many shares an account may buy."""
    min_shares: int = Field(examples=[100])
    """If fewer are sold at the end, everybody is refunded."""
    holders_bps: int = Field(examples=[5000])
    """The holders' part of the revenue."""
    platform_bps: int = Field(examples=[1000])
    """The platform's part of the revenue."""
    sale_fee_bps: int = Field(examples=[500])
    """The platform's part of the proceeds."""
    resale_fee_bps: int = Field(examples=[0])
    """The platform's part of each resale."""
    royalty: Royalty = Field(examples=[DEFAULT_ROYALTY.model_dump()])
    """The parties of each resale, and their parts."""
    royalty_to_holders_bps: int = Field(examples=[0])
    """The part of the artist's royalty that goes to all holders."""
    lockup_days: int = Field(examples=[30])
    """How long a share can't be resold after its purchase."""
    reflection_hours: int = Field(examples=[48])
    """How long a buyer may withdraw."""
    countries_blocked: list[str] = Field(examples=[["US"]])
    """People who reside there, or whose country isn't known, can't buy these shares. Empty: all can."""
    opens_at: Instant
    """When purchases begin."""
    allowlist_until: datetime | None = Field(examples=["2026-12-02T18:00:00Z"])
    """Before this instant, only accounts on the allowlist may buy."""
    ends_at: Instant
    """When purchases end."""
    sold: int = Field(examples=[320])
    """Shares that were bought and not given back."""
    available: int = Field(examples=[470])
    """Shares that are neither sold nor reserved. They can be bought while `status` is `live`."""
    reserved: int = Field(examples=[10])
    """Shares that are reserved for ten minutes."""
    buyers: int = Field(examples=[41])
    """Accounts that have bought."""
    terms_sha256: str | None = Field(examples=["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"])
    """SHA-256 of the canonical JSON of the terms (RFC 8785), once launched; each purchase is bound to it."""
    version: int = Field(examples=[3])
    """Changes with each edit; send it as `If-Match`."""


class Artist(ResponseModel):
    """The account that offers a master's shares."""

    id: Id
    """The account."""
    display_name: str | None = Field(examples=["Ana"])
    """Null for an account without a name."""


class Offering(ResponseModel):
    """A launched offering in the list of all; `GET /api/v1/masters/{master_id}/ipo` has all of its terms."""

    id: Id
    """The offering."""
    master_id: Id
    """Whose shares are offered."""
    title: str = Field(examples=["Night drive"])
    """Of the master."""
    type: MasterType = Field(examples=["track"])
    """Of the master."""
    genre: str = Field(examples=["Synthwave"])
    """Of the master."""
    artist: Artist
    """Whose master it is."""
    status: ListedStatus = Field(examples=["live"])
    """`scheduled` until it opens, `ended` until it is settled after its end."""
    currency: CurrencyCode
    """ISO 4217."""
    unit_price: int = Field(examples=[2500])
    """In base units of the currency."""
    total_shares: int = Field(examples=[1000])
    """All shares of the master."""
    offered: int = Field(examples=[800])
    """The shares that are sold."""
    min_shares: int = Field(examples=[100])
    """If fewer are sold at the end, everybody is refunded."""
    holders_bps: int = Field(examples=[5000])
    """The holders' part of the revenue."""
    sold: int = Field(examples=[320])
    """Shares that were bought and not given back."""
    available: int = Field(examples=[470])
    """Shares that are neither sold nor reserved. They can be bought while `status` is `live`."""
    opens_at: Instant
    """When purchases begin."""
    allowlist_until: datetime | None = Field(examples=["2026-12-02T18:00:00Z"])
    """Before this instant, only accounts on the allowlist may buy."""
    ends_at: Instant
    """When purchases end."""


class OfferingPage(Page[Offering]):
    """A part of the offerings."""


class MintPreview(ResponseModel):
    """What a purchase would be, at this moment."""

    quantity: int = Field(examples=[10])
    """Shares."""
    unit_price: int = Field(examples=[2500])
    """In base units."""
    total: int = Field(examples=[25000])
    """Send it as `expected_total`."""
    currency: CurrencyCode
    """ISO 4217."""
    available: int = Field(examples=[470])
    """Shares that can be bought now."""
    remaining_cap: int = Field(examples=[90])
    """How many more the account may buy."""
    next_serial: int | None = Field(examples=[331])
    """The first serial, if nobody buys before; null if all are sold."""
    minter_rank: int = Field(examples=[42])
    """The account's place in the order of first purchases."""


class PurchaseRequest(RequestModel):
    """A purchase."""

    quantity: Quantity
    """Shares; all of them or none are bought."""
    expected_total: Amount
    """What the buyer has agreed to pay, in base units."""
    reservation_id: UUID | None = Field(default=None, examples=["01930b5a-7c1e-7d3f-8a52-6f0e4b9c2d17"])
    """An open reservation of the same quantity."""


class Purchase(ResponseModel):
    """A settled purchase."""

    purchase_id: Id
    """The purchase."""
    serials: list[SerialRange]
    """The shares' serials, as ranges with both ends."""
    total: int = Field(examples=[25000])
    """Paid, in base units."""
    transfer_id: Id
    """In the ledger."""
    minter_rank: int = Field(examples=[42])
    """The account's place in the order of first purchases."""


class PurchaseRecord(ResponseModel):
    """A purchase of the account, as it is now."""

    purchase_id: Id
    """The purchase."""
    master_id: Id
    """The master."""
    title: str = Field(examples=["Night drive"])
    """Of the master."""
    quantity: int = Field(examples=[10])
    """Shares."""
    unit_price: int = Field(examples=[2500])
    """In base units."""
    total: int = Field(examples=[25000])
    """Paid, in base units."""
    currency: CurrencyCode
    """ISO 4217."""
    serials: list[SerialRange]
    """The serials that were bought, as ranges with both ends."""
    status: Literal["settled", "withdrawn", "refunded"] = Field(examples=["settled"])
    """`settled` until it is undone: by the buyer, or because the offering was canceled."""
    withdrawable_until: Instant | None
    """Until when the buyer may withdraw; null if it isn't possible, or not any more."""
    created_at: Instant
    """When it was paid."""


class PurchasePage(Page[PurchaseRecord]):
    """A part of the account's purchases."""


class ReservationRequest(RequestModel):
    """Shares to set aside for ten minutes."""

    quantity: Quantity
    """Shares."""


class Reservation(ResponseModel):
    """Shares that are set aside."""

    id: Id
    """Send it with the purchase."""
    quantity: int = Field(examples=[10])
    """Shares."""
    expires_at: Instant
    """When they are free again."""


class Pause(RequestModel):
    """Whether an offering is paused."""

    paused: Annotated[bool, Field(strict=True, examples=[True])]
    """True stops purchases, false lets them go on."""


class Withdrawal(ResponseModel):
    """A purchase that was undone."""

    purchase_id: Id
    """The purchase."""
    refunded: int = Field(examples=[25000])
    """Paid back, in base units."""
    transfer_id: Id
    """In the ledger."""


class AllowlistEntry(RequestModel):
    """An account that may buy before the others."""

    user_id: UUID = Field(examples=["01930b5a-7c1e-7d3f-8a52-6f0e4b9c2d17"])
    """The account."""
    cap: Annotated[int, Field(strict=True, ge=1, le=MAX_SHARES, examples=[50])] | None = None
    """How many shares it may buy before `allowlist_until`; null for `max_per_account`."""


class Allowlist(RequestModel):
    """The whole list; it replaces the one before."""

    entries: Annotated[list[AllowlistEntry], Field(max_length=100_000)]
    """Each account once."""


class Holder(ResponseModel):
    """An account that holds shares."""

    display_name: str | None = Field(examples=["Nina"])
    """Null for an account that doesn't show its name."""
    shares: int = Field(examples=[10])
    """How many."""


class HolderPage(Page[Holder]):
    """A part of the holders."""


class Holding(ResponseModel):
    """An account's shares of a master."""

    master_id: Id
    """The master."""
    title: str = Field(examples=["Night drive"])
    """Of the master."""
    shares: int = Field(examples=[10])
    """How many."""
    serials: list[SerialRange]
    """Their serials, as ranges with both ends; the first 100 ranges."""


class HoldingPage(Page[Holding]):
    """A part of the account's holdings."""


class Visibility(RequestModel):
    """Whether the account's name appears among the holders."""

    is_public: Annotated[bool, Field(strict=True, examples=[True])]
    """True shows the name."""


class Movement(ResponseModel):
    """A share's move from one account to another."""

    reason: Literal["mint", "sale", "resale", "refund", "withdraw", "custody", "legal"] = Field(examples=["sale"])
    """Why."""
    price: int | None = Field(examples=[2500])
    """Of this share, in base units; null where nothing was paid."""
    at: Instant
    """When."""
    transfer_id: Id
    """In the ledger."""


class Provenance(ResponseModel):
    """A share's history."""

    serial: int = Field(examples=[7])
    """The share."""
    holder: str | None = Field(examples=["Nina"])
    """The holder's name; null for one who doesn't show it."""
    movements: list[Movement]
    """The newest first; at most 100."""
