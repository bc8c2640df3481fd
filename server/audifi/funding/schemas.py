"""Request and response schemas."""

from typing import Annotated, Self
from uuid import UUID

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from audifi.core.http.schemas import Amount, Id, Instant, Page, RequestInstant, RequestModel, ResponseModel
from audifi.funding.models import DepositStatus, PayoutStatus


def _printable(value: str) -> str:
    if not value.isprintable():
        raise ValueError("must not contain control characters")
    return value


Currency = Annotated[str, Field(pattern="^[A-Z]{3}$", examples=["USD"])]
"""ISO 4217."""
Reference = Annotated[
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


class DepositCreate(RequestModel):
    """The account's own deposit, in development; with `user_id`, `reference` and `reason`, an admin's booking."""

    currency: Currency
    """One of the platform's currencies."""
    amount: Amount
    """In base units."""
    user_id: UUID | None = Field(default=None, examples=["01930b5a-7c1e-7d3f-8a52-6f0e4b9c2d17"])
    """The account whose money came in, for admins."""
    reference: Reference | None = None
    """The bank's reference of the receipt. It is booked once."""
    reason: Reason | None = None
    """Where the admin saw it; only operators see it."""
    received_at: RequestInstant | None = Field(default=None, examples=["2026-05-03T00:00:00Z"])
    """When it came in; null: now."""

    @model_validator(mode="after")
    def _check_booking(self) -> Self:
        booking = (self.user_id, self.reference, self.reason)
        if any(booking) and not all(booking):
            raise ValueError("user_id, reference and reason are given together")
        if self.received_at and not self.user_id:
            raise ValueError("received_at is for bookings")
        return self


class Deposit(ResponseModel):
    """Money that came in."""

    id: Id
    """Permanent id."""
    status: DepositStatus = Field(examples=["succeeded"])
    """`disputed`: a chargeback took it, or a part of it, for now; `lost`: for good."""
    currency: Currency
    """ISO 4217."""
    amount: Amount
    """In base units."""
    disputed: int = Field(examples=[0])
    """What chargebacks took of it, in base units."""
    reference: str = Field(examples=["BANK-2026-05-03-0042"])
    """The reference of the bank or the payment provider."""
    created_at: Instant
    """Time at which it was recorded."""


class DepositPage(Page[Deposit]):
    """Deposits, newest first."""


class PayoutCreate(RequestModel):
    currency: Currency
    """One of the platform's currencies."""
    amount: Amount
    """In base units; at least 10 units of the currency."""


class Payout(ResponseModel):
    """Money that goes out."""

    id: Id
    """Permanent id."""
    status: PayoutStatus = Field(examples=["requested"])
    """`requested` can be canceled; `submitted` is on its way; `failed`, or canceled: the balance has it again."""
    currency: Currency
    """ISO 4217."""
    amount: Amount
    """In base units."""
    created_at: Instant
    """Time of the request."""
    submitted_at: Instant | None
    """Time at which it was sent; null if it wasn't."""
    ended_at: Instant | None
    """Time at which it was paid, failed or was canceled; null before."""


class PayoutPage(Page[Payout]):
    """Payouts, newest first."""
