"""The ledger for the other features: each function writes in the caller's transaction.

Transfers and holds are refused by the database (docs/decisions/0035-ledger.md). A feature that needs fewer round trips
calls `ledger_post_v3` from a function of its own, inside `problems.refusals()`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg
from sqlalchemy import Boolean, Double, Text, Uuid, bindparam, func, select, text, update
from sqlalchemy.dialects import postgresql
from uuid6 import uuid7

from audifi.core.db.database import Database, Transaction
from audifi.core.db.statements import Statement, parameters
from audifi.ledger import problems
from audifi.ledger.accounts import AccountRef, Purpose
from audifi.ledger.measures import LOCK_WAIT, TRANSFERS
from audifi.ledger.models import Account, Asset, AssetKind, Entry, Hold, OwnerKind, Transfer

_assets, _accounts = Asset.__table__, Account.__table__
_entries, _holds, _transfers = Entry.__table__, Hold.__table__, Transfer.__table__

HAVE_THEIR_OWN_UNDO = frozenset(
    {
        *("deposit", "dispute", "dispute_won", "payout", "payout_returned", "debt_payment"),
        *("deposit_refund", "refund_returned", "provider_fee", "withdrawal"),
        *("invoice", "invoice_refund", "invoice_refund_returned", "invoice_dispute", "invoice_dispute_won"),
        *("ipo_completion", "proceeds_release"),
        *("revenue_funding", "revenue_return", "distribution", "dividend_claim"),
    }
)
"""Kinds of transfers that `reverse` refuses: rows of a feature have their status."""

POST = Statement(
    text(
        "SELECT transfer_id, is_replay, lock_seconds FROM ledger_post_v3(:id, :key, :kind, :addresses, :amounts, :now,"
        " :reference, :actor_id, :operator, :reason, :occurred_at, :settles, :reverses, :allow_frozen, :allow_debt)"
    ).columns(transfer_id=Uuid, is_replay=Boolean, lock_seconds=Double)
)
OPEN_ASSET = Statement(postgresql.insert(_assets).values(parameters("code", "kind", "scale")).on_conflict_do_nothing())
HOLD = Statement(
    postgresql.insert(_holds)
    .values(
        parameters("id", "amount", "key", "purpose", "expires_at", "created_at")
        | {"account_id": func.ledger_account_id_v1(bindparam("address", type_=Text))}
    )
    .on_conflict_do_nothing(index_elements=["key"])
    .returning(_holds.c.id)
)
FIND_HOLD = Statement(
    select(
        _holds.c.id,
        (
            (_holds.c.account_id == func.ledger_account_id_v1(bindparam("address", type_=Text)))
            & (_holds.c.amount == bindparam("amount"))
            & (_holds.c.purpose == bindparam("purpose"))
        ).label("is_same"),
    ).where(_holds.c.key == bindparam("key"))
)
VOID_HOLD = Statement(
    update(_holds)
    .where(
        _holds.c.id == bindparam("hold_id"),
        _holds.c.status == "open",
        _holds.c.expires_at > bindparam("now", type_=_holds.c.expires_at.type),
    )
    .values(status="voided")
)
ENTRIES_TO_REVERSE = Statement(
    select(
        _transfers.c.kind,
        _transfers.c.reverses,
        _assets.c.kind.label("asset_kind"),
        _assets.c.code.label("asset"),
        _accounts.c.owner_kind,
        _accounts.c.owner_id,
        _accounts.c.purpose,
        _accounts.c.stripe,
        _entries.c.amount,
    )
    .join_from(_transfers, _entries, _entries.c.transfer_id == _transfers.c.id)
    .join(_accounts, _accounts.c.id == _entries.c.account_id)
    .join(_assets, _assets.c.id == _entries.c.asset_id)
    .where(_transfers.c.id == bindparam("transfer_id"))
)


@dataclass(frozen=True, slots=True)
class Posting:
    """An amount that an account gets, or gives where it is negative. Postings to one account are added up."""

    account: AccountRef
    amount: int
    """In base units."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTransfer:
    """What `post` posts."""

    kind: str
    """snake_case, one of few; a label of the metric."""
    key: str
    """At most 200 characters. The same key with the same kind and postings returns the first transfer."""
    postings: Sequence[Posting]
    """They sum to zero in each asset, and name at most 64 accounts."""
    reference: str = ""
    """At most 100 characters, which the owners of the accounts see: an order's number."""
    actor_id: UUID | None = None
    """The account that asked for it, if any."""
    operator: str | None = None
    """The person at a console who asked for it; at most 100 characters."""
    reason: str | None = None
    """At most 200 characters, which only operators see."""
    occurred_at: datetime | None = None
    """When it happened outside; None: now."""
    settles: UUID | None = None
    """An open hold. The transfer takes from the hold's account at most what is held; the rest is freed."""
    reverses: UUID | None = None
    """The transfer that this one undoes; `reverse` sets it."""
    allow_frozen: bool = False
    """Whether it may take from frozen accounts: what others than the owner decide."""
    allow_debt: bool = False
    """Whether what it takes from users' available balances beyond what they have becomes their debt."""


@dataclass(frozen=True, slots=True)
class PostedTransfer:
    """The result of `post`."""

    transfer_id: UUID
    is_replay: bool
    """Whether it was posted before, with the same key; its id is that of the first time."""
    lock_seconds: float
    """How long it waited for locks."""


@dataclass(frozen=True, slots=True)
class OpenHold:
    """The result of `hold`."""

    hold_id: UUID
    is_replay: bool
    """Whether it was made before, with the same key; it may have ended since."""


@dataclass(frozen=True, slots=True)
class _HoldId:
    id: UUID


@dataclass(frozen=True, slots=True)
class _KnownHold:
    id: UUID
    is_same: bool


@dataclass(frozen=True, slots=True)
class _EntryToReverse:
    kind: str
    reverses: UUID | None
    asset_kind: str
    asset: str
    owner_kind: OwnerKind
    owner_id: UUID | None
    purpose: Purpose
    stripe: int
    amount: int


async def post(transaction: Transaction, *, transfer: NewTransfer, now: datetime) -> PostedTransfer:
    """Post all entries of a transfer, or none. One round trip; the transaction is READ COMMITTED.

    What a user gets as `available` pays the user's debt in that asset first, whatever the transfer.

    Raises:
        Problem: `balance.insufficient` with `missing`, `balance.limit_exceeded`, `account.frozen`,
            `transfer.key_reused`; `hold.not_open` and `hold.amount_exceeded` where it settles a hold.
    """
    with problems.refusals():
        posted = await transaction.fetch_one(
            POST,
            PostedTransfer,
            id=uuid7(),
            key=transfer.key,
            kind=transfer.kind,
            addresses=[posting.account.address for posting in transfer.postings],
            amounts=[posting.amount for posting in transfer.postings],
            now=now,
            reference=transfer.reference,
            actor_id=transfer.actor_id,
            operator=transfer.operator,
            reason=transfer.reason,
            occurred_at=transfer.occurred_at,
            settles=transfer.settles,
            reverses=transfer.reverses,
            allow_frozen=transfer.allow_frozen,
            allow_debt=transfer.allow_debt,
        )
    assert posted is not None  # noqa: S101 - the function returns a row
    if not posted.is_replay:
        count_transfer(transaction, transfer.kind, lock_seconds=posted.lock_seconds)
    return posted


async def hold(
    transaction: Transaction,
    *,
    account: AccountRef,
    amount: int,
    purpose: str,
    key: str,
    expires_at: datetime,
    now: datetime,
) -> OpenHold:
    """Reserve an amount of an account until the hold is settled or voided, or expires.

    Args:
        transaction: the caller's.
        account: not a striped one.
        amount: at least 1.
        purpose: snake_case, one of few.
        key: at most 200 characters. The same key, account, amount and purpose return the first hold.
        expires_at: from then on it can't be settled.
        now: the instant.

    Raises:
        Problem: `balance.insufficient` with `missing`, `account.frozen`, `hold.key_reused`.
    """
    values = {"address": account.address, "amount": amount, "purpose": purpose, "key": key}
    try:
        with problems.refusals():
            created = await transaction.fetch_one(
                HOLD, _HoldId, **values, id=uuid7(), expires_at=expires_at, created_at=now
            )
    except asyncpg.ForeignKeyViolationError:  # the account hasn't been opened
        raise problems.balance_insufficient(amount) from None
    if created is not None:
        return OpenHold(created.id, is_replay=False)
    known = await transaction.fetch_one(FIND_HOLD, _KnownHold, **values)
    if known is None or not known.is_same:
        raise problems.hold_key_reused()
    return OpenHold(known.id, is_replay=True)


async def void_hold(transaction: Transaction, *, hold_id: UUID, now: datetime) -> None:
    """Free what is held.

    Raises:
        Problem: `hold.not_open`.
    """
    if not await transaction.execute(VOID_HOLD, hold_id=hold_id, now=now):
        raise problems.hold_not_open()


async def reverse(
    transaction: Transaction,
    *,
    transfer_id: UUID,
    reason: str,
    now: datetime,
    actor_id: UUID | None = None,
    operator: str | None = None,
) -> PostedTransfer:
    """Post the entries of a transfer with the opposite sign, also where an account is frozen.

    Raises:
        Problem: `transfer.not_found`, `transfer.is_reversal`, `transfer.already_reversed`, `transfer.not_reversible`,
            `balance.insufficient` with `missing`.
    """
    entries = await transaction.fetch_all(ENTRIES_TO_REVERSE, _EntryToReverse, transfer_id=transfer_id)
    if not entries:
        raise problems.transfer_not_found()
    if entries[0].reverses is not None:
        raise problems.transfer_is_reversal()
    if entries[0].kind in HAVE_THEIR_OWN_UNDO or any(entry.asset_kind == "share" for entry in entries):
        raise problems.transfer_not_reversible()
    postings = [
        Posting(AccountRef(entry.owner_kind, entry.owner_id, entry.purpose, entry.asset, entry.stripe), -entry.amount)
        for entry in entries
    ]
    reversal = NewTransfer(
        kind="reversal",
        key=f"reversal:{uuid7()}",
        postings=postings,
        actor_id=actor_id,
        operator=operator,
        reason=reason,
        reverses=transfer_id,
        allow_frozen=True,
    )
    return await post(transaction, transfer=reversal, now=now)


async def open_asset(transaction: Transaction, *, code: str, kind: AssetKind, scale: int = 0) -> None:
    """Add an asset, if it isn't there: the shares of an IPO, a coin. Currencies are there."""
    await transaction.execute(OPEN_ASSET, code=code, kind=kind, scale=scale)


def count_transfer(database: Database | Transaction, kind: str, *, lock_seconds: float | None = None) -> None:
    """Count a transfer once it is committed; `post` does. For functions that call `ledger_post_v3` themselves."""
    database.count(TRANSFERS, kind)
    if lock_seconds is not None:
        database.record(LOCK_WAIT, lock_seconds)
