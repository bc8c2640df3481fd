"""Request and response schemas."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints

from audifi.core.http.schemas import Id, Instant, Page, RequestModel, ResponseModel, SignedAmount
from audifi.ledger.accounts import Purpose
from audifi.ledger.models import OwnerKind


def _printable(value: str) -> str:
    if not value.isprintable():
        raise ValueError("must not contain control characters")
    return value


Reason = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=200),
    AfterValidator(_printable),
    Field(examples=["Booked twice, see the bank statement of 3 May"]),
]
AssetCode = Annotated[str, Field(examples=["USD"])]
Scale = Annotated[int, Field(examples=[2])]


class Account(ResponseModel):
    """What an owner has of an asset, for a purpose."""

    id: Id
    """Permanent id."""
    purpose: Purpose = Field(examples=["available"])
    """`available` can be spent; `pending` are proceeds that aren't released yet; `debt`, below 0, is owed; `shares`."""
    asset: AssetCode
    """A currency (ISO 4217), or `share:` and the IPO's id."""
    scale: Scale
    """The number of decimals that people see: 2 for USD, whose base unit is the cent."""
    balance: SignedAmount
    """In base units."""
    held: SignedAmount
    """The reserved part of the balance."""
    available: SignedAmount
    """The balance without the reserved part."""
    frozen_at: Instant | None
    """Since when nothing may leave the account; null if it isn't frozen."""


class AccountPage(Page[Account]):
    """Accounts."""


class Entry(ResponseModel):
    """A change of an account's balance."""

    version: int = Field(examples=[42])
    """Its number in the account: 1, 2, 3 …, without gaps."""
    transfer_id: Id
    """The transfer that it is a part of."""
    kind: str = Field(examples=["deposit"])
    """
    The kind of transfer; more may be added. Money in and out: `deposit`, `deposit_refund`, `refund_returned`,
    `dispute`, `dispute_won`, `debt_payment`, `payout`, `payout_returned`. Offerings: `ipo_launch`, `ipo_purchase`,
    `ipo_withdraw`, `ipo_refund`, `ipo_completion`, `ipo_cancellation`, `proceeds_release`. Then `resale`,
    `distribution`, `dividend_claim`, `revenue_funding`, `revenue_return`; and `reversal`, which undoes another.
    """
    reference: str = Field(examples=["INV-2026-0042"])
    """What it refers to: `ipo:ID`, `listing:ID`, `revenue:ID`, or the reference of a bank or provider; may be empty."""
    amount: SignedAmount
    """What came in; below 0, what went out. In base units."""
    balance_after: SignedAmount
    """The balance from then on."""
    posted_at: Instant
    """Time of the change; never earlier than that of the entry before."""
    occurred_at: Instant
    """Time at which its cause happened: the day of a bank transfer that was booked later."""


class EntryPage(Page[Entry]):
    """A part of an account's statement, newest first."""

    asset: AssetCode
    """The account's asset."""
    scale: Scale
    """The number of decimals that people see."""
    opening_balance: SignedAmount
    """The balance at the beginning of the period, whatever the page."""
    closing_balance: SignedAmount
    """The balance at the end of the period."""


class ReversalCreate(RequestModel):
    reason: Reason
    """Why; only operators see it."""


class Reversal(ResponseModel):
    """The transfer that undoes another."""

    transfer_id: Id
    """Its own id."""
    reverses: Id
    """The id of the transfer that it undoes."""


class ProofTotal(ResponseModel):
    """The sum of all accounts of a purpose."""

    owner_kind: OwnerKind = Field(examples=["user"])
    """The kind of their owners."""
    purpose: Purpose = Field(examples=["available"])
    """What they are for."""
    balance: int = Field(examples=[123450])
    """The sum of the balances, in base units."""
    held: int = Field(examples=[2500])
    """The sum of the reserved parts."""
    accounts: int = Field(examples=[17])
    """How many accounts there are; stripes of one count as one each."""


class Proof(ResponseModel):
    """The trial balance of a currency."""

    asset: AssetCode
    """The currency."""
    scale: Scale
    """The number of decimals that people see."""
    difference: int = Field(examples=[0])
    """The sum of all balances. In double entry it is 0."""
    totals: list[ProofTotal]
    """What it is made of."""


class ProofList(ResponseModel):
    """The trial balance of each currency that has accounts."""

    status: Literal["balanced", "unbalanced"] = Field(examples=["balanced"])
    """Whether each difference is 0."""
    data: list[Proof]
    """At most one per currency."""
