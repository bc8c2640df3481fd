"""Stripe's fees and our withdrawals from it, and the comparison of its balance with the ledger's.

https://docs.stripe.com/api/balance_transactions
"""

import asyncio
import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy import BigInteger, Text, text

from audifi.core.db.statements import Statement
from audifi.ledger import service
from audifi.ledger.accounts import platform_account, provider_account, provider_id
from audifi.ledger.service import NewTransfer, Posting
from audifi.payments import stripe_objects
from audifi.payments.measures import DRIFT
from audifi.payments.reconciliation import new_pages
from audifi.payments.sessions import PROVIDER
from audifi.payments.stripe_objects import BalanceTransaction

if TYPE_CHECKING:
    from audifi.core.db.database import Database
    from audifi.services import Services

logger = logging.getLogger(__name__)

TRANSACTIONS = "balance_transactions"
FIRST_TIME = timedelta(days=365)
OF_THE_BANK = {"payout", "payout_failure", "payout_cancel"}
CALM_SECONDS = 30.0
"""Between two comparisons: a payment that is being processed isn't a difference."""

LEDGER = Statement(
    text("""
        SELECT asset.code AS currency, -sum(a.posted)::bigint AS external,
            coalesce((SELECT sum(p.amount) FROM payouts AS p WHERE p.provider = :provider AND p.status = 'submitted'
                AND p.provider_ref IS NOT NULL AND p.currency = asset.code), 0)::bigint
            + coalesce((SELECT sum(r.amount) FROM deposit_refunds AS r JOIN deposits AS d ON d.id = r.deposit_id
                WHERE r.status = 'submitted' AND d.currency = asset.code), 0)::bigint AS submitted
        FROM ledger_accounts AS a JOIN ledger_assets AS asset ON asset.id = a.asset_id
        WHERE a.owner_kind = 'provider' AND a.owner_id = :owner_id AND a.purpose = 'external'
        GROUP BY asset.code""").columns(currency=Text, external=BigInteger, submitted=BigInteger)
)


@dataclass(frozen=True, slots=True)
class _External:
    currency: str
    external: int
    submitted: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What Stripe holds of a currency, and what it should."""

    currency: str
    ledger: int
    """What the ledger says is there."""
    in_transit: int
    """Of it, transfers of payouts, and refunds, that haven't ended yet; Stripe doesn't count them any more."""
    provider: int
    """What Stripe says is there, available and pending."""

    @property
    def difference(self) -> int:
        return self.provider - (self.ledger - self.in_transit)


async def book_fees(services: "Services") -> None:
    """Book Stripe's fees and our own withdrawals, once each."""
    async for page in new_pages(
        services,
        "balance_transaction_list",
        lambda v1, parameters: v1.balance_transactions.list_async(parameters),
        cursor=TRANSACTIONS,
        first=FIRST_TIME,
    ):
        for transaction in map(stripe_objects.balance_transaction, page):
            await _book(services.background_database, transaction, services.clock())


async def _book(database: "Database", fetched: BalanceTransaction, now: datetime) -> None:
    external = provider_account(PROVIDER, "external", fetched.currency)
    transfers = []
    fee = fetched.fee if fetched.type != "stripe_fee" else -fetched.amount
    if fee:
        costs = platform_account("provider_fees", fetched.currency)
        transfers.append(("provider_fee", [Posting(costs, -fee), Posting(external, fee)]))
    if fetched.type in OF_THE_BANK:
        bank = provider_account(PROVIDER, "bank", fetched.currency)
        transfers.append(("withdrawal", [Posting(bank, fetched.amount), Posting(external, -fetched.amount)]))
    for kind, postings in transfers:
        transfer = NewTransfer(kind=kind, key=f"{kind}:{fetched.id}", postings=postings, occurred_at=fetched.created)
        async with database.transaction() as transaction:
            await service.post(transaction, transfer=transfer, now=now)


async def compare(services: "Services") -> list[Comparison]:
    """Return what Stripe holds in each currency, and what it should, by the ledger."""
    provider = stripe_objects.balance(await services.stripe.call("balance", lambda v1: v1.balance.retrieve_async()))
    rows = await services.database.fetch_all(LEDGER, _External, provider=PROVIDER, owner_id=provider_id(PROVIDER))
    ledger = {row.currency: row for row in rows}
    return [
        Comparison(
            currency=currency,
            ledger=ledger[currency].external if currency in ledger else 0,
            in_transit=ledger[currency].submitted if currency in ledger else 0,
            provider=provider.get(currency, 0),
        )
        for currency in sorted(ledger.keys() | provider.keys())
    ]


async def check(services: "Services", *, calm_seconds: float) -> None:
    """Count a difference that is the same after a while, as an alert. Nothing is booked by itself."""
    first = {each.currency: each.difference for each in await compare(services)}
    if not any(first.values()):
        return
    await asyncio.sleep(calm_seconds)
    for each in await compare(services):
        if each.difference and each.difference == first.get(each.currency):
            logger.error("balance differs from Stripe's: currency=%s difference=%d", each.currency, each.difference)
            services.metrics.count(DRIFT, "balance")
