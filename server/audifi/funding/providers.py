"""Where money comes from and goes to: the setting FUNDING.

`operator`: people book what the bank's statement shows, and send payouts by hand; nothing here calls a bank.
`development`: accounts book their own deposits, and payouts are paid at once.
Where PAYMENTS is on, payouts go through Stripe: `payments/payouts.py` is the provider.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol
from uuid import UUID

from audifi.core.db.database import Transaction
from audifi.funding.payouts import PayoutRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The outcome of a payout at its provider."""

    status: Literal["submitted", "paid", "failed"]
    reference: str | None = None
    """The provider's id of it."""


class PayoutProvider(Protocol):
    """A provider that this server calls. Whatever it raises leaves the payout `submitted`."""

    @property
    def name(self) -> str:
        """Of the provider, in `payouts` and the ledger."""

    async def check(
        self, transaction: Transaction, *, user_id: UUID, currency: str, amount: int, now: datetime
    ) -> None:
        """Raise the Problem for which the account can't be paid out, after its row was locked."""

    async def send(self, payout: PayoutRow) -> Answer:
        """Send a payout; its id is the idempotency key."""

    async def find(self, payout: PayoutRow) -> Answer | None:
        """Return the outcome of a payout that may have been sent; None if the provider doesn't know it."""


class DevelopmentProvider:
    """Says that each payout is paid."""

    name = "development"

    async def check(
        self, transaction: Transaction, *, user_id: UUID, currency: str, amount: int, now: datetime
    ) -> None:
        """Accept every payout."""

    async def send(self, payout: PayoutRow) -> Answer:
        return Answer(status="paid", reference=f"development {payout.id}")

    async def find(self, payout: PayoutRow) -> Answer | None:
        return await self.send(payout)
