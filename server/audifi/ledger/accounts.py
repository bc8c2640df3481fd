"""How accounts are addressed. An account is opened by the first transfer that names it."""

from dataclasses import dataclass
from typing import Literal
from uuid import NAMESPACE_DNS, UUID, uuid5

from audifi.ledger.models import OwnerKind

type Purpose = Literal[
    "available",
    "pending",
    "debt",
    "shares",
    "fees",
    "withholding",
    "suspense",
    "subscriptions",
    "tax",
    "provider_fees",
    "external",
    "bank",
    "escrow",
    "offering",
    "issuance",
    "revenue",
    "bridge",
    "pool",
]
"""What an owner keeps an account for; the table ledger_purposes says which owner may have which."""

STRIPED = frozenset({("platform", "fees"), ("platform", "withholding"), ("provider", "external"), ("pool", "pool")})
"""Accounts that many transfers change at once, without a limit of their own to check.

Each is 16 rows, and a transfer takes one of them.
"""


@dataclass(frozen=True, slots=True)
class AccountRef:
    """An account by its owner, its purpose and the code of its asset."""

    owner_kind: OwnerKind
    owner_id: UUID | None
    purpose: Purpose
    asset: str
    stripe: int | None = None
    """A certain stripe of a striped account; None leaves it to the transfer."""

    @property
    def address(self) -> str:
        """Return the account as `ledger_post_v1` reads it, such as `platform//fees/USD/*`."""
        is_striped = (self.owner_kind, self.purpose) in STRIPED
        stripe = ("*" if is_striped else "0") if self.stripe is None else str(self.stripe)
        return f"{self.owner_kind}/{self.owner_id or ''}/{self.purpose}/{self.asset}/{stripe}"


def user_account(user_id: UUID, purpose: Purpose, asset: str) -> AccountRef:
    return AccountRef("user", user_id, purpose, asset)


def platform_account(purpose: Purpose, asset: str) -> AccountRef:
    return AccountRef("platform", None, purpose, asset)


def provider_account(provider: str, purpose: Purpose, asset: str) -> AccountRef:
    """Return an account of a payment provider, by the provider's name."""
    return AccountRef("provider", provider_id(provider), purpose, asset)


def provider_id(provider: str) -> UUID:
    """Return the owner's id of a payment provider's accounts."""
    return uuid5(NAMESPACE_DNS, f"{provider}.providers.audifi")


def share_asset(ipo_id: UUID) -> str:
    """Return the code of the asset that the shares of an IPO are."""
    return f"share:{ipo_id}"
