"""Request and response schemas."""

from typing import Annotated

from pydantic import Field

from audifi.auth.schemas import LocalPath
from audifi.core.http.schemas import Amount, Id, Instant, Page, RequestModel, ResponseModel, SignedAmount
from audifi.funding.schemas import Currency, Reason
from audifi.payments.models import CheckoutStatus, EventStatus, RefundStatus

PageUrl = Annotated[str, Field(examples=["https://checkout.stripe.com/c/pay/cs_test_a1b2"])]


class DepositCheckout(RequestModel):
    """Money that an account wants to put into its balance."""

    amount: Amount
    """In base units; 5 to 10,000 units of the currency."""
    currency: Currency
    """One of the platform's currencies."""
    success_path: LocalPath
    """Where the page leads back to after the payment: a path of the frontend. `checkout` is added to its query."""
    cancel_path: LocalPath
    """The same, where the person goes back without paying."""


class Checkout(ResponseModel):
    """A page on which an account pays."""

    checkout_id: Id
    """Permanent id."""
    status: CheckoutStatus = Field(examples=["open"])
    """`complete`: the page was used; the balance says whether money has arrived. `expired` and `failed`:
    nothing was charged."""
    url: PageUrl | None
    """The page; null once it can't be used any more."""
    expires_at: Instant
    """Time at which the page ends."""


class CheckoutStarted(ResponseModel):
    """What is stored under the request's key. The page is made after that."""

    checkout_id: Id


class PortalOpen(RequestModel):
    return_path: LocalPath
    """Where the portal leads back to: a path of the frontend."""


class Portal(ResponseModel):
    """A page on which an account sees its cards and receipts."""

    url: PageUrl
    """Send the browser there within 5 minutes."""


class RefundCreate(RequestModel):
    amount: Amount
    """In base units; at most what isn't refunded yet, and what the balance has."""
    reason: Reason | None = None
    """Why an admin refunds another account's deposit; only operators see it."""


class RefundStarted(ResponseModel):
    """What is stored under the request's key. Stripe is asked after that."""

    refund_id: Id


class Refund(ResponseModel):
    """A part of a deposit that goes back to the card."""

    refund_id: Id
    """Permanent id."""
    deposit_id: Id
    """The deposit."""
    status: RefundStatus = Field(examples=["submitted"])
    """`succeeded`: it is on its way to the card. `failed`: the balance has it again."""
    amount: Amount
    """In base units."""
    currency: Currency
    """ISO 4217."""
    created_at: Instant
    """Time of the request."""


class OnboardingOpen(RequestModel):
    country: Annotated[str, Field(pattern="^[A-Z]{2}$", examples=["DE"])]
    """ISO 3166-1: where the person lives and has the bank account. It can't be changed later."""
    return_path: LocalPath
    """Where the page leads back to: a path of the frontend."""
    refresh_path: LocalPath
    """The same, where the page has expired: it asks for a new one."""


class Onboarding(ResponseModel):
    """A page that asks for what payouts need."""

    url: PageUrl
    """The page. It can be opened once."""
    expires_at: Instant
    """Time until which it can be opened."""


class PayoutAccount(ResponseModel):
    """Where an account's payouts go."""

    country: Annotated[str | None, Field(examples=["DE"])]
    """ISO 3166-1; null before it was opened."""
    payouts_enabled: bool = Field(examples=[False])
    """Whether payouts can be asked for."""
    requirements: list[str] = Field(examples=[["external_account"]])
    """What Stripe asks for; `account`: it hasn't been opened."""


class PaymentEvent(ResponseModel):
    """An event of the payment provider. What it said isn't kept."""

    event_id: str = Field(examples=["evt_1Q2w3E4r5T6y7U8i"])
    """Stripe's id."""
    type: str = Field(examples=["checkout.session.completed"])
    """Stripe's type."""
    object_id: str = Field(examples=["cs_test_a1b2"])
    """Stripe's id of what it is about."""
    account: str | None = Field(examples=["acct_1Q2w3E4r5T6y7U8i"])
    """Stripe's id of the connected account; null for the platform's own."""
    status: EventStatus = Field(examples=["done"])
    """`ignored`: nothing here follows such events."""
    attempts: int = Field(examples=[0])
    """How often looking at the object has failed."""
    error_code: str | None = Field(examples=["payments.provider_unavailable"])
    """Why it failed the last time."""
    created: Instant
    """Time at Stripe."""
    received_at: Instant
    """Time at which it arrived."""


class PaymentEventPage(Page[PaymentEvent]):
    """Events, newest first."""


class Comparison(ResponseModel):
    """What Stripe holds of a currency."""

    currency: Currency
    """ISO 4217."""
    ledger: SignedAmount
    """What the ledger says is with Stripe, in base units."""
    in_transit: SignedAmount
    """Of it, payouts and refunds that were sent and haven't ended yet."""
    provider: SignedAmount
    """What Stripe says it holds, available and pending."""
    difference: SignedAmount
    """What Stripe has more than the ledger says."""


class Reconciliation(ResponseModel):
    currencies: list[Comparison]
    """One for each currency."""
