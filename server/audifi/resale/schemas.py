"""Request and response schemas."""

from typing import Annotated, Literal

from pydantic import Field

from audifi.core.http.schemas import Amount, Id, Instant, Page, RequestInstant, RequestModel, ResponseModel
from audifi.ipos.schemas import MAX_SHARES, CurrencyCode, SerialRange, UnitPrice
from audifi.ipos.splits import DEFAULT_ROYALTY, Royalty
from audifi.resale.models import ListingStatus

type Sort = Literal["price", "-price", "created_at", "-created_at"]
Serial = Annotated[int, Field(strict=True, ge=1, le=MAX_SHARES)]


class ListingRequest(RequestModel):
    """Shares to sell, all together."""

    serials: tuple[Serial, Serial] = Field(examples=[[1, 10]])
    """The first and the last serial, of one range of the account's holdings."""
    unit_price: UnitPrice
    """The price of a share, in base units of the offering's currency."""
    expires_at: RequestInstant = Field(examples=["2026-12-31T18:00:00Z"])
    """When the listing ends, within 90 days."""


class Listing(ResponseModel):
    """Shares that are sold as a whole. A listing is never changed: cancel it, and list anew."""

    id: Id
    """The listing."""
    master_id: Id
    """Whose shares are sold."""
    title: str = Field(examples=["Night drive"])
    """Of the master."""
    status: ListingStatus = Field(examples=["open"])
    """Only an open one can be bought or canceled."""
    serials: SerialRange
    """The first and the last serial."""
    quantity: int = Field(examples=[10])
    """Shares."""
    unit_price: int = Field(examples=[2500])
    """The price of a share, in base units."""
    total: int = Field(examples=[25000])
    """Send it as `expected_total`."""
    currency: CurrencyCode
    """ISO 4217."""
    is_own: bool = Field(examples=[False])
    """Whether the signed-in account sells it."""
    created_at: Instant
    """When it was listed."""
    expires_at: Instant
    """When it ends."""
    sold_at: Instant | None
    """When it was bought; null if it wasn't."""
    next_record_at: Instant | None
    """The holder at this time gets the master's next dividends; null if none are declared."""


class ListingPage(Page[Listing]):
    """A part of a list of listings."""


class ListingPurchase(ResponseModel):
    """A listing that the account has bought."""

    listing_id: Id
    """The listing."""
    master_id: Id
    """Whose shares were bought."""
    title: str = Field(examples=["Night drive"])
    """Of the master."""
    serials: SerialRange
    """The first and the last serial. The account may have sold them since."""
    quantity: int = Field(examples=[10])
    """Shares."""
    unit_price: int = Field(examples=[2500])
    """The price of a share, in base units."""
    total: int = Field(examples=[25000])
    """Paid, in base units."""
    currency: CurrencyCode
    """ISO 4217."""
    bought_at: Instant
    """When it was paid."""


class ListingPurchasePage(Page[ListingPurchase]):
    """A part of what the account has bought of other holders."""


class BuyRequest(RequestModel):
    """A purchase of a listing."""

    expected_total: Amount
    """What the buyer has agreed to pay, in base units."""


class Resale(ResponseModel):
    """A listing that was bought."""

    listing_id: Id
    """The listing."""
    transfer_id: Id
    """In the ledger."""
    total: int = Field(examples=[25000])
    """Paid, in base units."""
    serials: SerialRange
    """The first and the last serial."""


class Part(ResponseModel):
    """What one party gets of a resale."""

    role: Literal["seller", "artist", "holders", "minter", "platform"] = Field(examples=["minter"])
    """Why it gets it."""
    display_name: str | None = Field(examples=["Nina"])
    """A first minter's name; null for others, and for one who doesn't show it."""
    amount: int = Field(examples=[2500])
    """In base units."""


class ListingPreview(ResponseModel):
    """What a purchase of the listing would pay to whom."""

    listing_id: Id
    """The listing."""
    status: ListingStatus = Field(examples=["open"])
    """Only an open one can be bought."""
    total: int = Field(examples=[25000])
    """The price."""
    currency: CurrencyCode
    """ISO 4217."""
    next_record_at: Instant | None
    """The holder at this time gets the master's next dividends; null if none are declared."""
    parts: list[Part]
    """They add up to the total. `holders` get theirs as dividends."""


class Minter(ResponseModel):
    """One of the first accounts that bought in the offering."""

    rank: int = Field(examples=[1])
    """The account's place in the order of first purchases."""
    bps: int = Field(examples=[500])
    """The account's part of each resale."""
    display_name: str | None = Field(examples=["Nina"])
    """Null for an account that doesn't show its name."""


class MoverAdvantage(ResponseModel):
    """Each party's part of a resale of a master's shares."""

    royalty: Royalty = Field(examples=[DEFAULT_ROYALTY.model_dump()])
    """The terms, fixed at the launch of the offering."""
    royalty_to_holders_bps: int = Field(examples=[0])
    """The part of the artist's royalty that goes to all holders."""
    resale_fee_bps: int = Field(examples=[0])
    """The platform's part, in hundredths of a percent."""
    minters: list[Minter]
    """The first minters once the offering is completed. The part of one whose account was deleted is the seller's."""


class Bounds(ResponseModel):
    """The least and the greatest value."""

    min: int = Field(examples=[0])
    """At least."""
    max: int = Field(examples=[1500])
    """At most."""


class FirstMintersBounds(ResponseModel):
    """The bounds of the mode `first_minters`: the artist and the first buyers get a part of each resale."""

    artist_bps: Bounds
    """Of the artist's part."""
    minter_bps: Bounds
    """Of each minter's part; parts don't rise."""
    minters: Bounds
    """How many."""


class TiersBounds(ResponseModel):
    """The bounds of the mode `tiers`: the artist gets a part of each resale, by the share's serial."""

    bps: Bounds
    """Of each rate; rates don't rise."""
    tiers: Bounds
    """How many."""


class MoverAdvantageConfig(ResponseModel):
    """The modes that an offering can have."""

    default: Royalty = Field(examples=[DEFAULT_ROYALTY.model_dump()])
    """What an offering has that doesn't say otherwise."""
    max_resale_bps: int = Field(examples=[2500])
    """Royalties and the platform's resale fee together are at most that."""
    first_minters: FirstMintersBounds
    """The bounds of the mode `first_minters`."""
    tiers: TiersBounds
    """The bounds of the mode `tiers`."""


FIRST_MINTERS_BOUNDS = FirstMintersBounds(
    artist_bps=Bounds(min=0, max=1500), minter_bps=Bounds(min=0, max=1000), minters=Bounds(min=0, max=3)
)
TIERS_BOUNDS = TiersBounds(bps=Bounds(min=50, max=1500), tiers=Bounds(min=1, max=6))
