"""Parse Stripe's objects. All used members are read here, so that a field that Stripe has moved fails loudly, once.

The package pins the version of the API, and sends it with each call.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

if TYPE_CHECKING:
    from stripe import StripeObject

METADATA_ID = "audifi_id"
"""The key in `metadata` of the id of our row. Whatever is made there carries it."""


class UnexpectedObjectError(Exception):
    """An object of Stripe's has no field of this name. The message names the object's kind and the field."""


class Reader:
    """The fields of an object, which must be there."""

    def __init__(self, thing: "StripeObject | Mapping[str, Any]") -> None:
        self._fields: Mapping[str, Any] = thing if isinstance(thing, Mapping) else thing.to_dict()

    def get(self, path: str) -> Any:
        """Return the value at a path such as `items.data`; None where it, or an object on the way, is null.

        Raises:
            UnexpectedObjectError: a field isn't there.
        """
        value: Any = self._fields
        for name in path.split("."):
            if value is None:
                return None
            if not isinstance(value, Mapping) or name not in value:
                raise UnexpectedObjectError(f"{self._fields.get('object', 'object')} has no {path}")
            value = value[name]
        return value

    def text(self, path: str) -> str:
        return str(self._required(path))

    def number(self, path: str) -> int:
        return int(self._required(path))

    def currency(self, path: str = "currency") -> str:
        return self.text(path).upper()

    def time(self, path: str) -> datetime:
        return datetime.fromtimestamp(self.number(path), UTC)

    def time_or_none(self, path: str) -> datetime | None:
        return None if self.get(path) is None else self.time(path)

    def reference(self, path: str) -> str | None:
        """Return the id of another object, expanded or not."""
        value = self.get(path)
        return None if value is None else str(value["id"] if isinstance(value, Mapping) else value)

    @property
    def audifi_id(self) -> UUID | None:
        """Return the id of our row; None if somebody else made the object."""
        metadata = self.get("metadata")
        try:
            return UUID(metadata[METADATA_ID])
        except (KeyError, TypeError, ValueError):
            return None

    def _required(self, path: str) -> Any:
        value = self.get(path)
        if value is None:
            raise UnexpectedObjectError(f"{self._fields.get('object', 'object')} has {path}: null")
        return value


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckoutSession:
    """https://docs.stripe.com/api/checkout/sessions/object, with `payment_intent` expanded."""

    id: str
    audifi_id: UUID | None
    status: str
    """open, complete or expired."""
    is_paid: bool
    has_failed: bool
    """Whether a debit that was under way has failed."""
    amount: int
    currency: str
    payment_intent: str | None
    subscription: str | None
    url: str | None
    expires_at: datetime


def checkout_session(thing: "StripeObject") -> CheckoutSession:
    read = Reader(thing)
    intent = read.get("payment_intent")
    status = intent["status"] if isinstance(intent, Mapping) else None
    return CheckoutSession(
        id=read.text("id"),
        audifi_id=read.audifi_id,
        status=read.text("status"),
        is_paid=read.text("payment_status") == "paid",
        has_failed=status in {"requires_payment_method", "canceled"},
        amount=read.number("amount_total"),
        currency=read.currency(),
        payment_intent=read.reference("payment_intent"),
        subscription=read.reference("subscription"),
        url=read.get("url"),
        expires_at=read.time("expires_at"),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Refund:
    """https://docs.stripe.com/api/refunds/object"""

    id: str
    audifi_id: UUID | None
    status: str
    """pending, requires_action, succeeded, failed or canceled."""
    payment_intent: str | None


def refund(thing: "StripeObject") -> Refund:
    read = Reader(thing)
    return Refund(
        id=read.text("id"),
        audifi_id=read.audifi_id,
        status=read.text("status"),
        payment_intent=read.reference("payment_intent"),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispute:
    """https://docs.stripe.com/api/disputes/object"""

    id: str
    status: str
    payment_intent: str | None
    currency: str
    withdrawn: int
    """What the bank took, in the currency of the balance; 0 for an inquiry."""
    reinstated: int
    """What it gave back of it."""
    due_by: datetime | None
    """Until when evidence is accepted."""


def dispute(thing: "StripeObject") -> Dispute:
    read = Reader(thing)
    moved = [Reader(each).number("amount") for each in read.get("balance_transactions")]
    currencies = {Reader(each).currency() for each in read.get("balance_transactions")}
    if len(currencies) > 1:
        raise UnexpectedObjectError("dispute has balance transactions in several currencies")
    return Dispute(
        id=read.text("id"),
        status=read.text("status"),
        payment_intent=read.reference("payment_intent"),
        currency=next(iter(currencies), read.currency()),
        withdrawn=-sum(amount for amount in moved if amount < 0),
        reinstated=sum(amount for amount in moved if amount > 0),
        due_by=read.time_or_none("evidence_details.due_by"),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectedAccount:
    """https://docs.stripe.com/api/accounts/object"""

    id: str
    country: str
    payouts_enabled: bool
    requirements_due: list[str]


def connected_account(thing: "StripeObject") -> ConnectedAccount:
    read = Reader(thing)
    return ConnectedAccount(
        id=read.text("id"),
        country=read.text("country"),
        payouts_enabled=bool(read.get("payouts_enabled")),
        requirements_due=[str(each) for each in read.get("requirements.currently_due") or ()],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class BankPayout:
    """https://docs.stripe.com/api/payouts/object, of a connected account."""

    id: str
    audifi_id: UUID | None
    status: str
    """pending, in_transit, paid, failed or canceled."""


def bank_payout(thing: "StripeObject") -> BankPayout:
    read = Reader(thing)
    return BankPayout(id=read.text("id"), audifi_id=read.audifi_id, status=read.text("status"))


@dataclass(frozen=True, slots=True, kw_only=True)
class BalanceTransaction:
    """https://docs.stripe.com/api/balance_transactions/object"""

    id: str
    type: str
    amount: int
    fee: int
    currency: str
    created: datetime


def balance_transaction(thing: "StripeObject") -> BalanceTransaction:
    read = Reader(thing)
    return BalanceTransaction(
        id=read.text("id"),
        type=read.text("type"),
        amount=read.number("amount"),
        fee=read.number("fee"),
        currency=read.currency(),
        created=read.time("created"),
    )


def balance(thing: "StripeObject") -> dict[str, int]:
    """Return available and pending money by currency (https://docs.stripe.com/api/balance/balance_object)."""
    read = Reader(thing)
    sums: dict[str, int] = {}
    for part in ("available", "pending"):
        for each in read.get(part):
            amount = Reader(each)
            sums[amount.currency()] = sums.get(amount.currency(), 0) + amount.number("amount")
    return sums
