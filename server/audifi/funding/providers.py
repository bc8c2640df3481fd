"""Where money comes from and goes to: the setting FUNDING.

`operator`: people book what the bank's statement shows, and send payouts by hand; nothing here calls a bank.
`development`: accounts book their own deposits, and payouts are paid at once.
"""

from dataclasses import dataclass
from typing import Literal, Protocol

from audifi.core.config.settings import Settings
from audifi.funding.payouts import PayoutRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What became of a payout at its provider."""

    status: Literal["submitted", "paid", "failed"]
    reference: str | None = None
    """The provider's id of it."""


class PayoutProvider(Protocol):
    """A provider that this server calls. Whatever it raises leaves the payout `submitted`."""

    async def send(self, payout: PayoutRow) -> Answer:
        """Send a payout; its id is the idempotency key."""

    async def find(self, payout: PayoutRow) -> Answer | None:
        """Return what became of a payout that may have been sent; None if the provider doesn't know it."""


class DevelopmentProvider:
    """Says that each payout is paid."""

    async def send(self, payout: PayoutRow) -> Answer:
        return Answer(status="paid", reference=f"development {payout.id}")

    async def find(self, payout: PayoutRow) -> Answer | None:
        return await self.send(payout)


def payout_provider(settings: Settings) -> PayoutProvider | None:
    """Return the provider that payouts are sent to; None where operators send them."""
    return DevelopmentProvider() if settings.funding == "development" else None
