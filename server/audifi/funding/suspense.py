"""Receipts that match nobody stay in the platform's suspense account until an operator knows whose they are."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import bindparam, select
from sqlalchemy.orm import aliased

from audifi.core.db.database import Transaction
from audifi.core.db.statements import Statement
from audifi.funding import deposits
from audifi.funding.deposits import Attribution, DepositRow, Receipt
from audifi.funding.invariants import PROVIDERS
from audifi.ledger import service
from audifi.ledger.accounts import platform_account, provider_account, provider_id
from audifi.ledger.models import Account, Asset, Entry, Transfer
from audifi.ledger.problems import transfer_not_found
from audifi.ledger.service import NewTransfer, PostedTransfer, Posting

KIND: Final = "suspense"
_NAMES = {provider_id(name): name for name in PROVIDERS}

_reversal, _provider, _provider_entry = aliased(Transfer), aliased(Account), aliased(Entry)
UNMATCHED = Statement(
    select(
        Transfer.id,
        Transfer.created_at,
        _provider.owner_id.label("provider_id"),
        Transfer.reference,
        Asset.code.label("currency"),
        Asset.scale,
        Entry.amount,
        Transfer.reason,
    )
    .select_from(Account)
    .join(Asset, Asset.id == Account.asset_id)
    .join(Entry, Entry.account_id == Account.id)
    .join(Transfer, Transfer.id == Entry.transfer_id)
    .join(_provider_entry, _provider_entry.transfer_id == Transfer.id)
    .join(_provider, _provider.id == _provider_entry.account_id)
    .outerjoin(_reversal, _reversal.reverses == Transfer.id)
    .where(
        Account.owner_kind == "platform",
        Account.purpose == KIND,
        Transfer.kind == KIND,
        _provider.owner_kind == "provider",
        _reversal.id.is_(None),
    )
    .order_by(Transfer.id),
    optional={"transfer_id": Transfer.id == bindparam("transfer_id")},
)


@dataclass(frozen=True, slots=True)
class UnmatchedRow:
    id: UUID
    created_at: datetime
    provider_id: UUID
    reference: str
    currency: str
    scale: int
    amount: int
    reason: str | None

    @property
    def provider(self) -> str:
        return _NAMES[self.provider_id]


async def keep(
    transaction: Transaction,
    *,
    provider: str,
    reference: str,
    currency: str,
    amount: int,
    now: datetime,
    by: Attribution | None = None,
    key: str | None = None,
) -> PostedTransfer:
    """Keep a receipt that matches nobody, once per provider and reference, or per key.

    Raises:
        Problem: `transfer.key_reused` if it was kept with another amount.
    """
    by = by or Attribution()
    transfer = NewTransfer(
        kind=KIND,
        key=f"{KIND}:{key or f'{provider}:{reference}'}",
        postings=[
            Posting(platform_account(KIND, currency), amount),
            Posting(provider_account(provider, "external", currency), -amount),
        ],
        reference=reference,
        actor_id=by.actor_id,
        operator=by.operator,
        reason=by.reason,
    )
    return await service.post(transaction, transfer=transfer, now=now)


async def assign(
    transaction: Transaction, *, transfer_id: UUID, user_id: UUID, by: Attribution, now: datetime
) -> DepositRow:
    """Book a receipt that was kept as a user's deposit.

    Raises:
        Problem: 404 `transfer.not_found` unless it is kept, and those of `deposits.book`.
    """
    kept = await transaction.fetch_one(UNMATCHED, UnmatchedRow, transfer_id=transfer_id)
    if kept is None:
        raise transfer_not_found()
    await service.reverse(
        transaction, transfer_id=transfer_id, reason=by.reason or "assigned", operator=by.operator, now=now
    )
    receipt = Receipt(
        provider=kept.provider,
        reference=kept.reference,
        user_id=user_id,
        currency=kept.currency,
        amount=kept.amount,
        occurred_at=kept.created_at,
    )
    return await deposits.book(transaction, receipt=receipt, now=now, by=by)
