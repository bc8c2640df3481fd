"""The end of an offering: completion, which pays the proceeds, or cancellation, which refunds every buyer."""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg
from sqlalchemy import Uuid, bindparam, exists, func, insert, or_, select, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import ARRAY
from uuid6 import uuid7

from audifi.auth.addresses import mailbox_key
from audifi.auth.models import User
from audifi.core.db.database import Database, Transaction
from audifi.core.db.statements import Statement, parameters
from audifi.core.http import problems as core
from audifi.core.http.problems import Problem
from audifi.core.jobs.each import for_each
from audifi.ipos import problems
from audifi.ipos.events import CLOCK, Actor, record
from audifi.ipos.lots import INSERT_LOT, INSERT_MOVEMENT, MINT_RETURNED, MOVE_ALL_LOTS
from audifi.ipos.models import Ipo, IpoBuyer, IpoProceeds, IpoPurchase
from audifi.ipos.offers import undo_launch
from audifi.ipos.purchases import IdRow, PurchaseResult, PurchaseRow, undo
from audifi.ipos.queries import CURRENT, IPO_COLUMNS, LOCK, IpoRow
from audifi.ipos.splits import split_proceeds
from audifi.ledger import service as ledger
from audifi.ledger.accounts import AccountRef, platform_account, share_asset, user_account
from audifi.ledger.service import NewTransfer, Posting
from audifi.masters.models import MasterCollaborator

REFUND_BATCH = 200

_ipos, _buyers, _purchases = Ipo.__table__, IpoBuyer.__table__, IpoPurchase.__table__
_proceeds, _collaborators = IpoProceeds.__table__, MasterCollaborator.__table__
_users = User.__table__
_artists = _users.alias("artists")

_is_running = or_(_ipos.c.status == "live", _ipos.c.status == "paused")
_withdrawable = exists().where(
    _ipos.c.reflection_hours > 0,  # else a purchase by a clock that is ahead would be withdrawable
    _purchases.c.ipo_id == _ipos.c.id,
    _purchases.c.status == "settled",
    _purchases.c.created_at + func.make_interval(0, 0, 0, 0, _ipos.c.reflection_hours.cast(postgresql.INTEGER))
    > bindparam("now"),
)
MINTERS = 3
MAX_FIRST_BUYERS = 100
"""Among which the first minters are looked for."""
FIRST_BUYERS = Statement(
    select(_buyers.c.user_id, _users.c.email_key, _artists.c.email_key.label("artist_key"))
    .join_from(_buyers, _users, _users.c.id == _buyers.c.user_id)
    .join(_ipos, _ipos.c.id == _buyers.c.ipo_id)
    .join(_artists, _artists.c.id == _ipos.c.artist_id)
    .where(_buyers.c.ipo_id == bindparam("ipo_id"), _buyers.c.bought > 0)
    .order_by(_buyers.c.ordinal)
    .limit(MAX_FIRST_BUYERS)
)
COMPLETE = Statement(
    update(_ipos)
    .where(
        _ipos.c.id == bindparam("ipo_id"),
        _is_running,
        _ipos.c.opens_at <= bindparam("now"),
        _ipos.c.sold - _ipos.c.returned >= _ipos.c.min_shares,
        ~_withdrawable,
    )
    .values(
        status="completed",
        closed_at=bindparam("now"),
        minters=bindparam("first_minters", type_=ARRAY(Uuid)),
        version=_ipos.c.version + 1,
    )
    .returning(*IPO_COLUMNS)
)
COLLABORATORS = Statement(
    select(_users.c.id.label("user_id"), _collaborators.c.split_bps)
    .join(_users, _users.c.id == _collaborators.c.user_id)
    .where(_collaborators.c.master_id == bindparam("master_id"), _users.c.deleted_at.is_(None))
    .order_by(_collaborators.c.position)
    .with_for_update(read=True, key_share=True, of=_users)
)
"""Collaborators with an account, which can't be deleted before the transaction ends."""
INSERT_PROCEEDS = Statement(insert(_proceeds).values(parameters("ipo_id", "user_id", "amount", "release_at")))
START_CANCEL = Statement(
    update(_ipos)
    .where(
        _ipos.c.id == bindparam("ipo_id"),
        _is_running,
        or_(_ipos.c.sold == 0, bindparam("with_sales")),
    )
    .values(status="canceling", version=_ipos.c.version + 1)
    .returning(*IPO_COLUMNS)
)
CANCEL_FAILED = Statement(
    update(_ipos)
    .where(_ipos.c.id == bindparam("ipo_id"), _is_running, _ipos.c.sold - _ipos.c.returned < _ipos.c.min_shares)
    .values(status="canceling", version=_ipos.c.version + 1)
)
REFUNDABLE = Statement(
    select(_purchases.c.id)
    .where(_purchases.c.ipo_id == bindparam("ipo_id"), _purchases.c.status == "settled")
    .order_by(_purchases.c.id)
    .limit(REFUND_BATCH)
)
REFUND = Statement(
    update(_purchases)
    .where(_purchases.c.id == bindparam("purchase_id"), _purchases.c.status == "settled")
    .values(status="refunded")
    .returning(*(_purchases.c[name] for name in PurchaseRow.__slots__))
)
FINISH_CANCEL = Statement(
    update(_ipos)
    .where(
        _ipos.c.id == bindparam("ipo_id"),
        _ipos.c.status == "canceling",
        ~exists().where(_purchases.c.ipo_id == _ipos.c.id, _purchases.c.status == "settled"),
    )
    .values(status="canceled", closed_at=bindparam("now"), version=_ipos.c.version + 1)
    .returning(*IPO_COLUMNS)
)
DUE = Statement(
    select(*IPO_COLUMNS)
    .where(
        _is_running,
        or_(_ipos.c.ends_at <= bindparam("now"), _ipos.c.sold == _ipos.c.offered),
        or_(_ipos.c.sold - _ipos.c.returned < _ipos.c.min_shares, ~_withdrawable),
    )
    .order_by(_ipos.c.ends_at)
    .limit(100)
)
CANCELING = Statement(select(_ipos.c.id).where(_ipos.c.status == "canceling").limit(100))
DUE_PROCEEDS = Statement(
    select(_proceeds.c.ipo_id, _proceeds.c.user_id)
    .where(_proceeds.c.released_at.is_(None), _proceeds.c.release_at <= bindparam("now"))
    .order_by(_proceeds.c.release_at)
    .limit(1000)
)
RELEASE = Statement(
    update(_proceeds)
    .where(
        _proceeds.c.ipo_id == bindparam("of_ipo"),
        _proceeds.c.user_id == bindparam("of_user"),
        _proceeds.c.released_at.is_(None),
        _ipos.c.id == _proceeds.c.ipo_id,
    )
    .values(released_at=bindparam("now"))
    .returning(_proceeds.c.amount, _ipos.c.currency)
)


@dataclass(frozen=True, slots=True)
class CollaboratorRow:
    """A collaborator's part of the proceeds."""

    user_id: UUID
    split_bps: int


@dataclass(frozen=True, slots=True)
class FirstBuyerRow:
    """One of the accounts that bought first."""

    user_id: UUID
    email_key: str
    artist_key: str


@dataclass(frozen=True, slots=True)
class ProceedsKey:
    """An account's part of an offering."""

    ipo_id: UUID
    user_id: UUID


@dataclass(frozen=True, slots=True)
class ReleasedRow:
    """Proceeds that are released."""

    amount: int
    currency: str


async def buy(
    database: Database,
    purchase: Callable[[Database | Transaction], Awaitable[PurchaseResult]],
    *,
    proceeds_delay: timedelta,
    now: datetime,
) -> PurchaseResult:
    """Run a purchase; if it sells the last share, together with the completion of the offering.

    Raises:
        Problem: see `problems.ALL_OF_PURCHASE`.
    """

    async def buy_the_last(tx: Transaction) -> PurchaseResult:
        result = await purchase(tx)
        if result.sold_out_ipo is not None:
            await complete(tx, ipo_id=result.sold_out_ipo, proceeds_delay=proceeds_delay, now=now)
        return result

    try:
        return await purchase(database)
    except problems.SellsOutError:
        return await database.run(buy_the_last, may_commit=False)


async def complete(
    tx: Transaction, *, ipo_id: UUID, proceeds_delay: timedelta, now: datetime, by: Actor = CLOCK
) -> IpoRow:
    """Pay the proceeds, and give what wasn't sold to the artist; return the completed offering.

    Args:
        tx: one transaction for all of it.
        ipo_id: a live or paused offering.
        proceeds_delay: how long the proceeds are pending.
        now: the instant.
        by: the artist who ends it early.

    Raises:
        Problem: 409 if it isn't running, too little is sold, or a buyer may still withdraw.
    """
    locked = await tx.fetch_row(LOCK, IpoRow, id=ipo_id)  # COMPLETE reads purchases and buyers: all that were committed
    first_buyers = await tx.fetch_all(FIRST_BUYERS, FirstBuyerRow, ipo_id=ipo_id)
    ipo = await tx.fetch_one(COMPLETE, IpoRow, ipo_id=ipo_id, now=now, first_minters=first_minters(first_buyers))
    if ipo is None:
        raise _refusal_of_completion(locked, now)
    await record(tx, "completed", ipo_id=ipo.id, by=by, now=now)
    bps: Counter[UUID] = Counter()
    for row in await tx.fetch_all(COLLABORATORS, CollaboratorRow, master_id=ipo.master_id):
        bps[row.user_id] += row.split_bps
    del bps[ipo.artist_id]  # the rest is the artist's, who pays collaborators without an account, too
    proceeds = split_proceeds(escrow=ipo.escrow, sale_fee_bps=ipo.sale_fee_bps, collaborators=list(bps.items()))
    parts = [part for part in (*proceeds.collaborators, (ipo.artist_id, proceeds.artist)) if part[1]]
    asset = share_asset(ipo.id)
    offering, artists = AccountRef("ipo", ipo.id, "offering", asset), user_account(ipo.artist_id, "shares", asset)
    unsold = ipo.offered - ipo.sold + ipo.returned
    postings = [
        Posting(AccountRef("ipo", ipo.id, "escrow", ipo.currency), -ipo.escrow),
        Posting(platform_account("fees", ipo.currency), proceeds.platform),
        *(Posting(user_account(user_id, "pending", ipo.currency), amount) for user_id, amount in parts),
        Posting(offering, -unsold),
        Posting(artists, unsold),
    ]
    posted = await ledger.post(
        tx,
        transfer=NewTransfer(
            kind="ipo_completion",
            key=f"complete:{ipo.id}",
            postings=[posting for posting in postings if posting.amount],
            reference=f"ipo:{ipo.id}",
        ),
        now=now,
    )
    release_at = now + proceeds_delay
    await tx.execute_many(
        INSERT_PROCEEDS,
        [{"ipo_id": ipo.id, "user_id": user, "amount": amount, "release_at": release_at} for user, amount in parts],
    )
    await _give_unsold(tx, ipo, transfer_id=posted.transfer_id, offering=offering, artists=artists, now=now)
    return ipo


def first_minters(buyers: Sequence[FirstBuyerRow]) -> list[UUID]:
    """Return the first accounts of different mailboxes, none of them the artist's: who opens several is one minter."""
    by_mailbox: dict[str, UUID] = {}
    for buyer in buyers:
        mailbox = mailbox_key(buyer.email_key)
        if mailbox != mailbox_key(buyer.artist_key):
            by_mailbox.setdefault(mailbox, buyer.user_id)
    return list(by_mailbox.values())[:MINTERS]


async def _give_unsold(
    tx: Transaction, ipo: IpoRow, *, transfer_id: UUID, offering: AccountRef, artists: AccountRef, now: datetime
) -> None:
    transferable_at = now + timedelta(days=ipo.lockup_days)
    values = {"ipo_id": ipo.id, "from_address": offering.address, "to_address": artists.address, "now": now}
    if ipo.returned:
        await tx.execute(MINT_RETURNED, **values, transfer_id=transfer_id)
        await tx.execute(MOVE_ALL_LOTS, **values, transferable_at=transferable_at)
    if ipo.sold == ipo.offered:
        return
    serials = asyncpg.Range(ipo.first_number + ipo.sold + 1, ipo.first_number + ipo.offered + 1)
    await tx.execute(
        INSERT_LOT,
        id=uuid7(),
        ipo_id=ipo.id,
        serials=serials,
        address=artists.address,
        now=now,
        transferable_at=transferable_at,
    )
    await tx.execute(
        INSERT_MOVEMENT, id=uuid7(), **values, transfer_id=transfer_id, serials=serials, reason="mint", price=0
    )


def _refusal_of_completion(ipo: IpoRow, now: datetime) -> Problem:
    if ipo.status not in {"live", "paused"}:
        return problems.completed() if ipo.status == "completed" else problems.not_live()
    if now < ipo.opens_at:
        return problems.not_live()
    if ipo.sold - ipo.returned < ipo.min_shares:
        return problems.minimum_not_reached()
    return problems.withdrawable()


async def start_cancel(
    tx: Transaction, *, master_id: UUID, by: Actor, now: datetime, artist_id: UUID | None = None
) -> IpoRow:
    """Begin to cancel an offering; `refund` does the rest. Return it.

    Args:
        tx: a transaction.
        master_id: whose offering it is.
        by: who cancels it.
        now: the instant.
        artist_id: its artist, if the artist cancels: only before the first sale. None also allows it later.

    Raises:
        Problem: 404, 409.
    """
    ipo = await tx.fetch_one(CURRENT, IpoRow, master_id=master_id)
    if ipo is None or (artist_id is not None and ipo.artist_id != artist_id):
        raise core.not_found()
    canceling = await tx.fetch_one(START_CANCEL, IpoRow, ipo_id=ipo.id, with_sales=artist_id is None)
    if canceling is not None:
        await record(tx, "canceling", ipo_id=ipo.id, by=by, now=now)
        return canceling
    ipo = await tx.fetch_row(LOCK, IpoRow, id=ipo.id)
    if ipo.status in {"live", "paused"}:
        raise problems.has_sales()
    raise problems.completed() if ipo.status == "completed" else problems.not_live()


async def refund(database: Database, *, ipo_id: UUID, now: datetime) -> int:
    """Refund each purchase of an offering that is canceled, in a transaction of its own, then cancel it.

    May be run twice and killed at any point: what is done stays done, and the next run goes on. Returns how many
    purchases it refunded.
    """
    count = 0
    while rows := await database.fetch_all(REFUNDABLE, IdRow, ipo_id=ipo_id):
        for row in rows:
            async with database.transaction() as tx:
                purchase = await tx.fetch_one(REFUND, PurchaseRow, purchase_id=row.id)
                if purchase is not None:  # else another run was first
                    await undo(tx, purchase, reason="refund", now=now)
                    count += 1
    async with database.transaction() as tx:
        ipo = await tx.fetch_one(FINISH_CANCEL, IpoRow, ipo_id=ipo_id, now=now)
        if ipo is not None:
            await undo_launch(tx, ipo, key=f"cancel:{ipo.id}", now=now)
            await record(tx, "canceled", ipo_id=ipo.id, by=CLOCK, now=now)
    return count


async def close_due(database: Database, *, proceeds_delay: timedelta, now: datetime) -> None:
    """Complete or begin to cancel each offering that has ended or is sold out, and go on with refunds."""

    async def close(ipo: IpoRow) -> None:
        async with database.transaction() as tx:
            if ipo.sold - ipo.returned >= ipo.min_shares:
                with suppress(Problem):  # another machine was first
                    await complete(tx, ipo_id=ipo.id, proceeds_delay=proceeds_delay, now=now)
            elif await tx.execute(CANCEL_FAILED, ipo_id=ipo.id):  # else another machine was first
                await record(tx, "canceling", ipo_id=ipo.id, by=CLOCK, now=now)

    async def go_on(ipo: IdRow) -> None:
        await refund(database, ipo_id=ipo.id, now=now)

    await for_each(await database.fetch_all(DUE, IpoRow, now=now), close)
    await for_each(await database.fetch_all(CANCELING, IdRow), go_on)


async def release_due(database: Database, *, now: datetime) -> None:
    """Make pending proceeds available whose time has come, each in its own transaction."""

    async def release(key: ProceedsKey) -> None:
        async with database.transaction() as tx:
            row = await tx.fetch_one(RELEASE, ReleasedRow, of_ipo=key.ipo_id, of_user=key.user_id, now=now)
            if row is not None:  # else another machine was first
                await ledger.post(
                    tx,
                    transfer=NewTransfer(
                        kind="proceeds_release",
                        key=f"proceeds:{key.ipo_id}:{key.user_id}",
                        postings=[
                            Posting(user_account(key.user_id, "pending", row.currency), -row.amount),
                            Posting(user_account(key.user_id, "available", row.currency), row.amount),
                        ],
                        reference=f"ipo:{key.ipo_id}",
                        allow_frozen=True,
                    ),
                    now=now,
                )

    await for_each(await database.fetch_all(DUE_PROCEEDS, ProceedsKey, now=now), release)
