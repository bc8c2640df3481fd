"""Buying in an offering: purchases, reservations and withdrawals."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

import asyncpg
from sqlalchemy import (
    BigInteger,
    Boolean,
    Double,
    LargeBinary,
    Uuid,
    bindparam,
    func,
    insert,
    literal_column,
    select,
    text,
    update,
)
from sqlalchemy.dialects import postgresql
from uuid6 import uuid7

from audifi.compliance import problems as compliance
from audifi.compliance.service import rule_check
from audifi.core.db.database import Database, Transaction
from audifi.core.db.statements import Statement, parameters
from audifi.core.http import problems as core
from audifi.core.http.problems import Problem
from audifi.core.idempotency.service import Claim
from audifi.core.jobs.each import for_each
from audifi.ipos import problems
from audifi.ipos.lots import INSERT_MOVEMENT, MOVE_LOTS
from audifi.ipos.models import Ipo, IpoBuyer, IpoPurchase, IpoReservation
from audifi.ipos.queries import BUYER, CURRENT, IPO_COLUMNS, BuyerRow, IpoRow
from audifi.ledger import service as ledger
from audifi.ledger.accounts import AccountRef, share_asset, user_account
from audifi.ledger.service import NewTransfer, Posting

RESERVED_FOR = timedelta(minutes=10)
PAUSE_AFTER_EXPIRY = timedelta(minutes=10)
MAX_RESERVED_PART = 5
"""At most a fifth of the offered shares is reserved, so that nobody blocks a sale without paying."""

_ipos, _buyers = Ipo.__table__, IpoBuyer.__table__
_reservations, _purchases = IpoReservation.__table__, IpoPurchase.__table__

PURCHASE = Statement(
    text(
        "SELECT status, body, is_replay, sold_out_ipo, lock_seconds"
        " FROM ipo_purchase_v3(:key_id, :key_lock, :fingerprint, :purchase_id, :transfer_id, :lot_id, :movement_id,"
        " :master_id, :user_id, :quantity, :expected_total, :reservation_id, :now, :may_sell_out)"
    ).columns(status=BigInteger, body=LargeBinary, is_replay=Boolean, sold_out_ipo=Uuid, lock_seconds=Double)
)
LAST_EXPIRY = Statement(
    select(func.max(_reservations.c.expires_at), rule_check("buy")).where(
        _reservations.c.user_id == bindparam("user_id"),
        _reservations.c.ipo_id == bindparam("ipo_id"),
        _reservations.c.status == "expired",
    )
)
RESERVE = Statement(
    insert(_reservations).values(
        parameters("id", "ipo_id", "user_id", "quantity", "expires_at", "created_at") | {"status": "open"}
    )
)
_buyer = postgresql.insert(_buyers).values(parameters("ipo_id", "user_id", "reserved", "cap"))
RESERVE_FOR_BUYER = Statement(
    _buyer.on_conflict_do_update(
        index_elements=["ipo_id", "user_id"],
        set_={"reserved": _buyers.c.reserved + _buyer.excluded.reserved, "cap": _buyer.excluded.cap},
    )
)
RESERVE_IN_IPO = Statement(
    update(_ipos)
    .where(
        _ipos.c.id == bindparam("ipo_id"),
        _ipos.c.status == "live",
        _ipos.c.opens_at <= bindparam("now"),
        _ipos.c.ends_at > bindparam("now"),
        _ipos.c.sold + _ipos.c.reserved + bindparam("quantity") <= _ipos.c.offered,
        (_ipos.c.reserved + bindparam("quantity")) * MAX_RESERVED_PART <= _ipos.c.offered,
    )
    .values(reserved=_ipos.c.reserved + bindparam("quantity"))
)
REFUSE = Statement(text("SELECT ipo_refuse_v1(:ipo_id, :now)"))
_reserved = (_reservations.c.ipo_id, _reservations.c.user_id, _reservations.c.quantity)
_open = (_reservations.c.id == bindparam("reservation_id"), _reservations.c.status == "open")
CANCEL_RESERVATION = Statement(
    update(_reservations)
    .where(
        *_open,
        _reservations.c.user_id == bindparam("owner_id"),
        _ipos.c.id == _reservations.c.ipo_id,
        _ipos.c.master_id == bindparam("master_id"),
    )
    .values(status="canceled")
    .returning(*_reserved)
)
EXPIRE_RESERVATION = Statement(
    update(_reservations)
    .where(*_open, _reservations.c.expires_at <= bindparam("now"))
    .values(status="expired")
    .returning(*_reserved)
)
OWN_RESERVATION = Statement(
    select(_reservations.c.id).where(
        _reservations.c.id == bindparam("reservation_id"), _reservations.c.user_id == bindparam("user_id")
    )
)
FREE_OF_BUYER = Statement(
    update(_buyers)
    .where(_buyers.c.ipo_id == bindparam("of_ipo"), _buyers.c.user_id == bindparam("of_user"))
    .values(reserved=_buyers.c.reserved - bindparam("quantity"))
)
FREE_OF_IPO = Statement(
    update(_ipos).where(_ipos.c.id == bindparam("of_ipo")).values(reserved=_ipos.c.reserved - bindparam("quantity"))
)
EXPIRED = Statement(
    select(_reservations.c.id)
    .where(literal_column("ipo_reservations.status = 'open'"), _reservations.c.expires_at <= bindparam("now"))
    .order_by(_reservations.c.expires_at)
    .limit(100)
)
WITHDRAW = Statement(
    update(_purchases)
    .where(
        _purchases.c.id == bindparam("purchase_id"),
        _purchases.c.user_id == bindparam("buyer_id"),
        _purchases.c.status == "settled",
        _ipos.c.id == _purchases.c.ipo_id,
        _ipos.c.master_id == bindparam("master_id"),
        (_ipos.c.status == "live") | (_ipos.c.status == "paused"),
        _purchases.c.created_at + func.make_interval(0, 0, 0, 0, _ipos.c.reflection_hours.cast(postgresql.INTEGER))
        > bindparam("now"),
    )
    .values(status="withdrawn")
    .returning(*(_purchases.c[name] for name in ("id", "ipo_id", "user_id", "quantity", "total", "serials")))
)
OWN_PURCHASE = Statement(
    select(_purchases.c.id).where(
        _purchases.c.id == bindparam("purchase_id"), _purchases.c.user_id == bindparam("user_id")
    )
)
RETURN_TO_BUYER = Statement(
    update(_buyers)
    .where(_buyers.c.ipo_id == bindparam("of_ipo"), _buyers.c.user_id == bindparam("of_user"))
    .values(bought=_buyers.c.bought - bindparam("quantity"))
)
RETURN_TO_IPO = Statement(
    update(_ipos)
    .where(_ipos.c.id == bindparam("of_ipo"), _ipos.c.status != "completed")
    .values(returned=_ipos.c.returned + bindparam("quantity"))
    .returning(*IPO_COLUMNS)
)


@dataclass(frozen=True, slots=True)
class PurchaseResult:
    """What `ipo_purchase_v3` returns."""

    status: int
    body: bytes
    is_replay: bool
    sold_out_ipo: UUID | None
    lock_seconds: float | None
    """None where nothing was bought."""


@dataclass(frozen=True, slots=True)
class PurchaseRow:
    """A purchase that is undone."""

    id: UUID
    ipo_id: UUID
    user_id: UUID
    quantity: int
    total: int
    serials: asyncpg.Range


@dataclass(frozen=True, slots=True)
class IdRow:
    """An id."""

    id: UUID


@dataclass(frozen=True, slots=True)
class ReservedRow:
    """A reservation that has ended."""

    ipo_id: UUID
    user_id: UUID
    quantity: int


async def purchase(
    database: Database | Transaction,
    claim: Claim,
    *,
    user_id: UUID,
    master_id: UUID,
    quantity: int,
    expected_total: int,
    reservation_id: UUID | None,
    now: datetime,
) -> PurchaseResult:
    """Buy shares in one statement, which claims the Idempotency-Key and stores the answer.

    Outside of a transaction the offering's row, for which all its purchases wait, is locked for the shortest time. In
    one, the caller completes the offering if the result has `sold_out_ipo`.

    Raises:
        Problem: see `problems.ALL_OF_PURCHASE`.
        problems.SellsOutError: outside of a transaction, if it would sell the last share.
    """
    may_sell_out = isinstance(database, Transaction)
    run = database.fetch_one if isinstance(database, Transaction) else database.write_one
    with problems.refusals():
        result = await run(
            PURCHASE,
            PurchaseResult,
            key_id=claim.key_id,
            key_lock=claim.lock,
            fingerprint=claim.fingerprint,
            purchase_id=uuid7(),
            transfer_id=uuid7(),
            lot_id=uuid7(),
            movement_id=uuid7(),
            master_id=master_id,
            user_id=user_id,
            quantity=quantity,
            expected_total=expected_total,
            reservation_id=reservation_id,
            now=now,
            may_sell_out=may_sell_out,
        )
    assert result is not None  # noqa: S101 - the function returns a row
    if not result.is_replay:
        ledger.count_transfer(database, "ipo_purchase", lock_seconds=result.lock_seconds)
    return result


def cap_of(ipo: IpoRow, buyer: BuyerRow | None, now: datetime) -> int | None:
    """Return how many shares an account may buy; None if only accounts on the allowlist may, and it isn't."""
    if ipo.allowlist_until is None or now >= ipo.allowlist_until:
        return ipo.max_per_account
    if buyer is None or not buyer.is_allowed:
        return None
    return buyer.allowed_cap or ipo.max_per_account


async def reserve(
    tx: Transaction, *, user_id: UUID, master_id: UUID, quantity: int, now: datetime
) -> tuple[UUID, datetime]:
    """Set shares aside for ten minutes; return the reservation's id and its end.

    Raises:
        Problem: 403, 404, 409.
    """
    ipo = await tx.fetch_one(CURRENT, IpoRow, master_id=master_id)
    if ipo is None or ipo.status in {"draft", "canceled"}:
        raise core.not_found()
    if ipo.artist_id == user_id:
        raise problems.own()
    cap = cap_of(ipo, await tx.fetch_one(BUYER, BuyerRow, ipo_id=ipo.id, user_id=user_id), now)
    if cap is None:
        raise problems.allowlist_only()
    with compliance.refusals():
        last_expiry = await tx.fetch_value(
            LAST_EXPIRY,
            user_id=user_id,
            ipo_id=ipo.id,
            amount=quantity * ipo.unit_price,
            currency=ipo.currency,
            now=now,
        )
    if last_expiry is not None and (wait := last_expiry + PAUSE_AFTER_EXPIRY - now) > timedelta(0):
        raise problems.reservation_paused(int(wait.total_seconds()) + 1)
    reservation_id, expires_at = uuid7(), now + RESERVED_FOR
    try:
        await tx.execute(
            RESERVE,
            id=reservation_id,
            ipo_id=ipo.id,
            user_id=user_id,
            quantity=quantity,
            expires_at=expires_at,
            created_at=now,
        )
        await tx.execute(RESERVE_FOR_BUYER, ipo_id=ipo.id, user_id=user_id, reserved=quantity, cap=cap)
    except asyncpg.UniqueViolationError:
        raise problems.reservation_exists() from None
    except asyncpg.CheckViolationError:
        raise problems.cap_exceeded() from None
    if not await tx.execute(RESERVE_IN_IPO, ipo_id=ipo.id, quantity=quantity, now=now):
        await _refuse_reservation(tx, ipo_id=ipo.id, quantity=quantity, now=now)
    return reservation_id, expires_at


async def _refuse_reservation(tx: Transaction, *, ipo_id: UUID, quantity: int, now: datetime) -> None:
    """Raise why nothing was reserved."""
    try:
        with problems.refusals():
            await tx.execute(REFUSE, ipo_id=ipo_id, now=now)
    except Problem as problem:
        if problem.code == "ipo.sold_out" and problem.extensions["available"] >= quantity:
            raise problems.reservation_limit_reached() from None
        raise


async def cancel_reservation(database: Database, *, user_id: UUID, master_id: UUID, reservation_id: UUID) -> None:
    """Free what is reserved.

    Raises:
        Problem: 404 for another account's, 409 if it was used or has expired.
    """
    async with database.transaction() as tx:
        row = await tx.fetch_one(
            CANCEL_RESERVATION, ReservedRow, reservation_id=reservation_id, owner_id=user_id, master_id=master_id
        )
        if row is None:
            owned = await tx.fetch_value(OWN_RESERVATION, reservation_id=reservation_id, user_id=user_id)
            raise core.not_found() if owned is None else problems.reservation_not_open()
        await _free(tx, row)


async def expire_reservations(database: Database, *, now: datetime) -> None:
    """Free expired reservations, each in its own transaction."""

    async def expire(row: IdRow) -> None:
        async with database.transaction() as tx:
            reserved = await tx.fetch_one(EXPIRE_RESERVATION, ReservedRow, reservation_id=row.id, now=now)
            if reserved is not None:  # else it was used or canceled meanwhile
                await _free(tx, reserved)

    await for_each(await database.fetch_all(EXPIRED, IdRow, now=now), expire)


async def _free(tx: Transaction, row: ReservedRow) -> None:
    await tx.execute(FREE_OF_BUYER, of_ipo=row.ipo_id, of_user=row.user_id, quantity=row.quantity)
    await tx.execute(FREE_OF_IPO, of_ipo=row.ipo_id, quantity=row.quantity)


async def withdraw(
    tx: Transaction, *, user_id: UUID, master_id: UUID, purchase_id: UUID, now: datetime
) -> tuple[PurchaseRow, UUID]:
    """Undo a purchase within the offering's reflection time; return it, and the id of the refund's transfer.

    Raises:
        Problem: 404 for another account's, 409 when the time has passed or it was undone.
    """
    row = await tx.fetch_one(
        WITHDRAW, PurchaseRow, purchase_id=purchase_id, buyer_id=user_id, master_id=master_id, now=now
    )
    if row is None:
        owned = await tx.fetch_value(OWN_PURCHASE, purchase_id=purchase_id, user_id=user_id)
        raise core.not_found() if owned is None else problems.withdrawal_closed()
    return row, await undo(tx, row, reason="withdraw", now=now)


async def undo(tx: Transaction, row: PurchaseRow, *, reason: Literal["withdraw", "refund"], now: datetime) -> UUID:
    """Pay a purchase back in full, and return its shares to the offering; return the transfer's id.

    The purchase's row was changed in this transaction. Its serials aren't sold again.

    Raises:
        Problem: 409 if the offering is completed.
    """
    await tx.execute(RETURN_TO_BUYER, of_ipo=row.ipo_id, of_user=row.user_id, quantity=row.quantity)
    ipo = await tx.fetch_one(RETURN_TO_IPO, IpoRow, of_ipo=row.ipo_id, quantity=row.quantity)
    if ipo is None:  # completed since the purchase's row was changed
        raise problems.withdrawal_closed()
    asset = share_asset(ipo.id)
    offering, holder = AccountRef("ipo", ipo.id, "offering", asset), user_account(row.user_id, "shares", asset)
    posted = await ledger.post(
        tx,
        transfer=NewTransfer(
            kind=f"ipo_{reason}",
            key=f"refund:{row.id}",
            postings=[
                Posting(AccountRef("ipo", ipo.id, "escrow", ipo.currency), -row.total),
                Posting(user_account(row.user_id, "available", ipo.currency), row.total),
                Posting(holder, -row.quantity),
                Posting(offering, row.quantity),
            ],
            reference=f"ipo:{ipo.id}",
            allow_frozen=True,
        ),
        now=now,
    )
    await tx.execute(MOVE_LOTS, of_ipo=ipo.id, range=row.serials, to_address=offering.address, now=now)
    await tx.execute(
        INSERT_MOVEMENT,
        id=uuid7(),
        ipo_id=ipo.id,
        transfer_id=posted.transfer_id,
        serials=row.serials,
        from_address=holder.address,
        to_address=offering.address,
        reason=reason,
        price=row.total,
        now=now,
    )
    return posted.transfer_id
