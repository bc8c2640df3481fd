"""Listing shares, taking listings back, and buying what is listed."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
from sqlalchemy import (
    BigInteger,
    Boolean,
    LargeBinary,
    Text,
    Uuid,
    any_,
    bindparam,
    func,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import INT8RANGE
from uuid6 import uuid7

from audifi.auth.service import lock_user
from audifi.compliance import service as rules
from audifi.core.db.database import Database, Transaction
from audifi.core.db.statements import Statement, parameters
from audifi.core.http import problems as core
from audifi.core.idempotency.service import Claim, StoredResponse
from audifi.ipos.models import SERIALS_PER_IPO, ShareLot
from audifi.ledger import debt
from audifi.ledger import service as ledger
from audifi.ledger.accounts import AccountRef, share_asset, user_account
from audifi.masters import problems as masters
from audifi.resale import problems
from audifi.resale.models import Listing
from audifi.resale.queries import IS_OPEN, OFFERING, SALE, OfferingRow, SaleRow

MAX_OPEN_LISTINGS = 100
"""Of one account."""
MAX_DURATION = timedelta(days=90)
EXPIRY_BATCH = 500

_listings, _lots = Listing.__table__, ShareLot.__table__


def _account_id() -> Any:
    return func.ledger_account_id_v1(bindparam("address", type_=Text))


COUNT_OPEN = Statement(
    select(func.count()).select_from(_listings).where(_listings.c.seller_id == bindparam("seller_id"), IS_OPEN)
)
_range = bindparam("serials", type_=INT8RANGE)
LOCK_OVERLAPPING = Statement(
    select(_listings.c.id)
    .where(_listings.c.serials.op("&&")(_range), IS_OPEN)
    .order_by(_listings.c.id)
    .with_for_update()
)
TRANSFERABLE_AT = Statement(
    select(_lots.c.transferable_at).where(
        _lots.c.account_id == _account_id(), _lots.c.serials.op("@>")(_range), _lots.c.custody == "ledger"
    )
)
INSERT = Statement(
    insert(_listings).values(
        parameters(
            "id",
            "ipo_id",
            "seller_id",
            "serials",
            "quantity",
            "unit_price",
            "total",
            "hold_id",
            "expires_at",
            "created_at",
        )
        | {"status": "open"}
    )
)
CANCEL = Statement(
    update(_listings)
    .where(
        _listings.c.id == bindparam("listing_id"),
        _listings.c.seller_id == bindparam("owner_id"),
        IS_OPEN,
        _listings.c.expires_at > bindparam("now"),
    )
    .values(status="canceled", closed_at=bindparam("now"))
    .returning(_listings.c.hold_id)
)
OWN = Statement(
    select(_listings.c.id).where(
        _listings.c.id == bindparam("listing_id"), _listings.c.seller_id == bindparam("owner_id")
    )
)
_due = (
    select(_listings.c.id)
    .where(IS_OPEN, _listings.c.expires_at <= bindparam("now"))
    .order_by(_listings.c.expires_at)
    .limit(EXPIRY_BATCH)
    .with_for_update(skip_locked=True)
)
EXPIRE = Statement(
    update(_listings)
    .where(_listings.c.id == any_(func.array(_due.scalar_subquery())))
    .values(status="expired", closed_at=bindparam("now"))
)
LOCK_PAYEES = Statement(
    text("""
        SELECT id FROM users
        WHERE id = ANY(ARRAY(
            SELECT unnest(i.minters || i.artist_id) FROM listings AS l JOIN ipos AS i ON i.id = l.ipo_id
            WHERE l.id = :listing_id
        ))
        ORDER BY id FOR SHARE
    """).columns(id=Uuid)
)
BUY = Statement(
    text(
        "SELECT status, body, is_replay FROM resale_buy_v2(:key_id, :key_lock, :fingerprint, :transfer_id,"
        " :movement_id, :listing_id, :buyer_id, :expected_total, :seller, :fee, :holders, :payees, :parts, :now)"
    ).columns(status=BigInteger, body=LargeBinary, is_replay=Boolean)
)


@dataclass(frozen=True, slots=True)
class NewListing:
    """The result of `create`."""

    id: UUID
    title: str
    quantity: int
    total: int
    currency: str
    next_record_at: datetime | None


@dataclass(frozen=True, slots=True)
class CanceledRow:
    """A listing that was taken back."""

    hold_id: UUID


@dataclass(frozen=True, slots=True)
class BuyResult:
    """What `resale_buy_v2` returns."""

    status: int
    body: bytes
    is_replay: bool


async def create(
    tx: Transaction,
    *,
    seller_id: UUID,
    master_id: UUID,
    serials: tuple[int, int],
    unit_price: int,
    expires_at: datetime,
    now: datetime,
) -> NewListing:
    """List contiguous shares of one lot, and reserve them.

    Locks are taken in this order: the seller, the listings of the same shares, the account of the shares. A sale in
    progress of one of them is waited for, so that what is read afterwards is where the shares are.

    Raises:
        Problem: 401, 403, 404, 409, 422.
    """
    if serials[1] < serials[0]:
        raise problems.serials_invalid()
    if not now < expires_at <= now + MAX_DURATION:
        raise problems.expiry_invalid()
    offering = await _resalable(tx, master_id)
    await lock_user(tx, seller_id)
    await debt.refuse(tx, user_id=seller_id)
    await rules.check(tx, action="list", user_id=seller_id, ipo_id=offering.id, now=now)
    if await tx.fetch_value(COUNT_OPEN, seller_id=seller_id) >= MAX_OPEN_LISTINGS:
        raise problems.limit_reached()
    first_number = offering.number * SERIALS_PER_IPO
    numbers = asyncpg.Range(first_number + serials[0], first_number + serials[1] + 1)
    shares = user_account(seller_id, "shares", share_asset(offering.id))
    await _check_shares(tx, shares, numbers, now)
    listing_id, quantity = uuid7(), serials[1] - serials[0] + 1
    hold = await ledger.hold(
        tx,
        account=shares,
        amount=quantity,
        purpose="listing",
        key=f"listing:{listing_id}",
        expires_at=expires_at,
        now=now,
    )
    total = quantity * unit_price
    await tx.execute(
        INSERT,
        id=listing_id,
        ipo_id=offering.id,
        seller_id=seller_id,
        serials=numbers,
        quantity=quantity,
        unit_price=unit_price,
        total=total,
        hold_id=hold.hold_id,
        expires_at=expires_at,
        created_at=now,
    )
    return NewListing(listing_id, offering.title, quantity, total, offering.currency, offering.next_record_at)


async def _resalable(tx: Transaction, master_id: UUID) -> OfferingRow:
    offering = await tx.fetch_one(OFFERING, OfferingRow, master_id=master_id)
    if offering is None or offering.status in {"draft", "canceled"}:
        raise core.not_found()
    if offering.suspended_at is not None:
        raise masters.suspended()
    if offering.status != "completed":
        raise problems.ipo_live()
    return offering


async def _check_shares(tx: Transaction, shares: AccountRef, serials: asyncpg.Range, now: datetime) -> None:
    """Check that the account may list these shares; without a lock on them, so the caller has locked the seller."""
    is_listed = await tx.fetch_value(LOCK_OVERLAPPING, serials=serials) is not None
    transferable_at = await tx.fetch_value(TRANSFERABLE_AT, address=shares.address, serials=serials)
    if transferable_at is None:
        raise problems.share_not_held()
    if transferable_at > now:
        raise problems.share_locked_up(transferable_at)
    if is_listed:
        raise problems.share_listed()


async def cancel(tx: Transaction, *, seller_id: UUID, listing_id: UUID, now: datetime) -> None:
    """Take a listing back.

    Raises:
        Problem: 404 for another account's, 409 if it was sold or has expired.
    """
    row = await tx.fetch_one(CANCEL, CanceledRow, listing_id=listing_id, owner_id=seller_id, now=now)
    if row is None:
        owned = await tx.fetch_value(OWN, listing_id=listing_id, owner_id=seller_id)
        raise core.not_found() if owned is None else problems.not_open()
    await ledger.void_hold(tx, hold_id=row.hold_id, now=now)


async def expire(database: Database, *, now: datetime) -> int:
    """End listings whose time has passed; return how many. The ledger frees their shares."""
    count = 0
    while batch := await database.execute(EXPIRE, now=now):
        count += batch
    return count


async def lock_sale(tx: Transaction, *, listing_id: UUID, now: datetime) -> SaleRow:
    """Return a listing with the terms of its sale. None of its payees' accounts is deleted before the transaction ends.

    Raises:
        Problem: 404.
    """
    await tx.fetch_value(LOCK_PAYEES, listing_id=listing_id)
    sale = await tx.fetch_one(SALE, SaleRow, listing_id=listing_id, now=now)
    if sale is None:
        raise core.not_found()
    return sale


async def buy(
    tx: Transaction, claim: Claim, *, sale: SaleRow, buyer_id: UUID, expected_total: int, now: datetime
) -> StoredResponse:
    """Buy what is listed in one statement, which claims the Idempotency-Key and stores the answer.

    Raises:
        Problem: see `problems.ALL_OF_BUY`.
    """
    split = sale.split()
    payments = [(sale.artist_id, split.artist), *split.minters]
    with problems.refusals():
        result = await tx.fetch_one(
            BUY,
            BuyResult,
            key_id=claim.key_id,
            key_lock=claim.lock,
            fingerprint=claim.fingerprint,
            transfer_id=uuid7(),
            movement_id=uuid7(),
            listing_id=sale.id,
            buyer_id=buyer_id,
            expected_total=expected_total,
            seller=split.seller,
            fee=split.platform,
            holders=split.holders,
            payees=[user_id for user_id, _ in payments],
            parts=[amount for _, amount in payments],
            now=now,
        )
    assert result is not None  # noqa: S101 - the function returns a row
    if not result.is_replay:
        ledger.count_transfer(tx, "resale")
    return StoredResponse(status=result.status, body=result.body, is_replay=result.is_replay)
