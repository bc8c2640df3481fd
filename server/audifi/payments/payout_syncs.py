"""What Stripe's events say of payouts: the bank has paid, has refused, or a transfer was reversed."""

from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import bindparam, select

from audifi.core.db.database import Transaction
from audifi.core.db.statements import Statement
from audifi.funding import payouts
from audifi.funding.models import Payout
from audifi.funding.payouts import COLUMNS, PayoutRow
from audifi.funding.providers import Answer
from audifi.payments import stripe_objects
from audifi.payments.payouts import StripePayouts
from audifi.payments.sessions import PROVIDER
from audifi.payments.stripe_objects import Reader
from audifi.payments.syncs import SyncKind

if TYPE_CHECKING:
    from audifi.services import Services

FIND = Statement(select(*COLUMNS).where(Payout.id == bindparam("payout_id"), Payout.provider == PROVIDER))


@dataclass(frozen=True, slots=True)
class _Outcome:
    payout_id: UUID
    answer: Answer


async def _fetch_bank_payout(services: "Services", provider_id: str) -> _Outcome | None:
    account, _, id_ = provider_id.partition("/")
    thing = await services.stripe.find(
        "payout_retrieve", lambda v1: v1.payouts.retrieve_async(id_, {}, {"stripe_account": account})
    )
    return await _settle(services, stripe_objects.bank_payout(thing).audifi_id if thing is not None else None)


async def _fetch_transfer(services: "Services", provider_id: str) -> _Outcome | None:
    thing = await services.stripe.find("transfer_retrieve", lambda v1: v1.transfers.retrieve_async(provider_id))
    return await _settle(services, Reader(thing).audifi_id if thing is not None else None)


async def _settle(services: "Services", payout_id: UUID | None) -> _Outcome | None:
    provider = services.payout_provider
    row = await services.background_database.fetch_one(FIND, PayoutRow, payout_id=payout_id)
    if row is None or row.status not in {"submitted", "paid"} or not isinstance(provider, StripePayouts):
        return None
    return _Outcome(row.id, await provider.settle(row))


async def _write(services: "Services", transaction: Transaction, _provider_id: str, outcome: _Outcome | None) -> None:
    if outcome is None or outcome.answer.status == "submitted":
        return
    record = payouts.payout_paid if outcome.answer.status == "paid" else payouts.payout_failed
    await record(transaction, payout_id=outcome.payout_id, reference=outcome.answer.reference, now=services.clock())


SYNCS = (
    SyncKind(name="bank_payout", events=("payout.*",), fetch=_fetch_bank_payout, write=_write, is_connected=True),
    SyncKind(name="transfer", events=("transfer.reversed",), fetch=_fetch_transfer, write=_write),
)
