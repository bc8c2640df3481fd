"""An offering before its sales: drafts, the launch, the allowlist, and pauses."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
from sqlalchemy import BigInteger, Uuid, bindparam, delete, func, insert, select, update
from sqlalchemy.dialects.postgresql import ARRAY
from uuid6 import uuid7

from audifi.auth.service import lock_user
from audifi.compliance import problems as compliance
from audifi.core.db.database import Database, Transaction
from audifi.core.db.statements import Statement, parameters
from audifi.core.http import problems as core
from audifi.core.http.conditional import precondition_failed
from audifi.core.http.problems import FieldError, invalid
from audifi.ipos import problems, terms
from audifi.ipos.events import Actor, record
from audifi.ipos.lots import DELETE_LOTS, INSERT_LOT, INSERT_MOVEMENT
from audifi.ipos.models import Ipo, IpoAllowlistEntry
from audifi.ipos.queries import CURRENT, IPO_COLUMNS, LIVE_OF_ARTIST, LOCK_CURRENT, IpoRow
from audifi.ipos.schemas import AllowlistEntry, IpoTerms
from audifi.ipos.splits import DEFAULT_ROYALTY
from audifi.ledger import service as ledger
from audifi.ledger.accounts import AccountRef, share_asset, user_account
from audifi.ledger.service import NewTransfer, Posting
from audifi.masters import states as masters
from audifi.masters.queries import GET_OWN, FullMasterRow
from audifi.subscriptions import entitlements

MAX_LIVE_IPOS = 20
TERMS = (
    "currency total_shares retained_shares unit_price max_per_account min_shares holders_bps royalty "
    "royalty_to_holders_bps lockup_days reflection_hours countries_blocked opens_at allowlist_until ends_at"
).split()
RATES = "platform_bps sale_fee_bps resale_fee_bps".split()

_ipos, _allowlist = Ipo.__table__, IpoAllowlistEntry.__table__
INSERT = Statement(
    insert(_ipos)
    .values(parameters("id", "master_id", "artist_id", *TERMS, "offered", *RATES, "created_at") | {"status": "draft"})
    .returning(*IPO_COLUMNS)
)
UPDATE = Statement(
    update(_ipos)
    .where(_ipos.c.id == bindparam("ipo_id"))
    .values({name: bindparam(f"new_{name}") for name in (*TERMS, "offered", *RATES)} | {"version": _ipos.c.version + 1})
    .returning(*IPO_COLUMNS)
)
LAUNCH = Statement(
    update(_ipos)
    .where(_ipos.c.id == bindparam("ipo_id"))
    .values(
        status="live",
        terms_sha256=bindparam("digest"),
        launched_at=bindparam("now"),
        version=_ipos.c.version + 1,
    )
    .returning(*IPO_COLUMNS)
)
UNLAUNCH = Statement(
    update(_ipos)
    .where(
        _ipos.c.id == bindparam("ipo_id"),
        _ipos.c.status == "live",
        _ipos.c.opens_at > bindparam("now"),
        _ipos.c.sold + _ipos.c.reserved == 0,  # by a server whose clock is ahead
    )
    .values(status="draft", terms_sha256=None, launched_at=None, version=_ipos.c.version + 1)
    .returning(*IPO_COLUMNS)
)
SET_STATUS = Statement(
    update(_ipos)
    .where(_ipos.c.master_id == bindparam("of_master"), _ipos.c.status == bindparam("from_status"))
    .values(status=bindparam("to_status"), version=_ipos.c.version + 1)
    .returning(*IPO_COLUMNS)
)
DELETE_ALLOWLIST = Statement(delete(_allowlist).where(_allowlist.c.ipo_id == bindparam("ipo_id")))
INSERT_ALLOWLIST = Statement(
    insert(_allowlist).from_select(
        ["ipo_id", "user_id", "cap"],
        select(
            bindparam("ipo_id", type_=Uuid),
            func.unnest(bindparam("user_ids", type_=ARRAY(Uuid))),
            func.unnest(bindparam("caps", type_=ARRAY(BigInteger))),
        ),
    )
)


@dataclass(frozen=True, kw_only=True)
class Rates:
    """The platform's parts, in basis points; copied into an offering when it is launched."""

    platform_bps: int
    sale_fee_bps: int
    resale_fee_bps: int
    currencies: Sequence[str]


async def create(
    tx: Transaction, *, artist_id: UUID, master_id: UUID, body: IpoTerms, rates: Rates, now: datetime
) -> IpoRow:
    """Draft an offering of a master; return it.

    Raises:
        Problem: 403 for royalties that the plan doesn't have, 404 unless the account is the master's artist, 409 if
            there is an offering, 422.
    """
    _check(body, rates, now)
    await lock_user(tx, artist_id)
    if await tx.fetch_one(GET_OWN, FullMasterRow, master_id=master_id, artist_id=artist_id) is None:
        raise core.not_found()
    await _require_plan(tx, body, artist_id, now)
    try:
        row = await tx.fetch_row(
            INSERT, IpoRow, id=uuid7(), master_id=master_id, artist_id=artist_id, created_at=now, **_values(body, rates)
        )
    except asyncpg.UniqueViolationError:
        raise problems.exists() from None
    return row


async def change(
    database: Database,
    *,
    artist_id: UUID,
    master_id: UUID,
    body: IpoTerms,
    rates: Rates,
    expected_version: int,
    now: datetime,
) -> IpoRow:
    """Replace the terms of a draft; return it.

    Raises:
        Problem: 403 for royalties that the plan doesn't have, 404, 409 if it isn't a draft, 412, 422.
    """
    _check(body, rates, now)
    async with database.transaction() as tx:
        ipo = await lock_own(tx, artist_id=artist_id, master_id=master_id)
        if ipo.status != "draft":
            raise problems.not_editable()
        if ipo.version != expected_version:
            raise precondition_failed()
        await _require_plan(tx, body, artist_id, now)
        values = {f"new_{name}": value for name, value in _values(body, rates).items()}
        return await tx.fetch_row(UPDATE, IpoRow, ipo_id=ipo.id, **values)


async def launch(tx: Transaction, *, artist_id: UUID, master_id: UUID, rates: Rates, now: datetime) -> IpoRow:
    """Fix the terms, make the shares, and offer the master; purchases begin at `opens_at`.

    Raises:
        Problem: 403 and 404 as for drafts; those of the rules (`compliance`); 409 if it isn't a draft, the master
            isn't approved, another offered master has one of its recordings, or the artist has too many live offerings;
            422 if the times or rates don't fit any more.
    """
    await lock_user(tx, artist_id)  # what is counted is what other launches have committed
    ipo = await lock_own(tx, artist_id=artist_id, master_id=master_id)
    if ipo.status != "draft":
        raise problems.not_editable()
    values = {name: getattr(ipo, name) for name in TERMS} | {"royalty": json.loads(ipo.royalty)}
    body = IpoTerms.model_validate(values)
    _check(body, rates, now)
    await _require_plan(tx, body, artist_id, now)
    if await _live_ipos(tx, ipo, now) >= MAX_LIVE_IPOS:
        raise problems.limit_reached()
    await masters.offer(tx, master_id=master_id, now=now)
    values = {f"new_{name}": value for name, value in _values(body, rates).items()}
    ipo = await tx.fetch_row(UPDATE, IpoRow, ipo_id=ipo.id, **values)
    ipo = await tx.fetch_row(LAUNCH, IpoRow, ipo_id=ipo.id, digest=terms.digest(ipo), now=now)
    await ledger.open_asset(tx, code=share_asset(ipo.id), kind="share")
    posted = await ledger.post(
        tx,
        transfer=NewTransfer(
            kind="ipo_launch",
            key=f"launch:{ipo.id}:{ipo.version}",
            postings=issued(ipo, -1),
            reference=f"ipo:{ipo.id}",
            actor_id=artist_id,
        ),
        now=now,
    )
    await record(tx, "launched", ipo_id=ipo.id, by=Actor(user_id=artist_id), now=now)
    if ipo.retained_shares:
        serials = asyncpg.Range(ipo.first_number + ipo.offered + 1, ipo.first_number + ipo.total_shares + 1)
        artists = user_account(artist_id, "shares", share_asset(ipo.id))
        await tx.execute(
            INSERT_LOT,
            id=uuid7(),
            ipo_id=ipo.id,
            serials=serials,
            address=artists.address,
            now=now,
            transferable_at=now + timedelta(days=ipo.lockup_days),
        )
        await tx.execute(
            INSERT_MOVEMENT,
            id=uuid7(),
            ipo_id=ipo.id,
            transfer_id=posted.transfer_id,
            serials=serials,
            from_address=AccountRef("ipo", ipo.id, "issuance", share_asset(ipo.id)).address,
            to_address=artists.address,
            reason="mint",
            price=0,
            now=now,
        )
    return ipo


async def _require_plan(tx: Transaction, body: IpoTerms, artist_id: UUID, now: datetime) -> None:
    """
    Raises:
        Problem: 403 for royalties of the artist's own, unless the plan has them.
    """
    if body.royalty != DEFAULT_ROYALTY or body.royalty_to_holders_bps:
        await entitlements.require(tx, user_id=artist_id, feature="royalty_terms", now=now)


async def _live_ipos(tx: Transaction, ipo: IpoRow, now: datetime) -> int:
    """Ask the rules whether the artist may launch, and return how many live offerings there are."""
    with compliance.refusals():
        count: int = await tx.fetch_value(
            LIVE_OF_ARTIST,
            user_id=ipo.artist_id,
            ipo_id=None,
            amount=ipo.offered * ipo.unit_price,
            currency=ipo.currency,
            now=now,
        )
    return count


async def unlaunch(tx: Transaction, *, artist_id: UUID, master_id: UUID, now: datetime) -> IpoRow:
    """Make a launched offering that hasn't opened a draft again.

    Raises:
        Problem: 404, 409 once it has opened.
    """
    ipo = await lock_own(tx, artist_id=artist_id, master_id=master_id)
    row = await tx.fetch_one(UNLAUNCH, IpoRow, ipo_id=ipo.id, now=now)
    if row is None:
        raise problems.not_editable()
    await undo_launch(tx, row, key=f"unlaunch:{row.id}:{row.version}", now=now)
    await record(tx, "unlaunched", ipo_id=row.id, by=Actor(user_id=artist_id), now=now)
    return row


async def undo_launch(tx: Transaction, ipo: IpoRow, *, key: str, now: datetime) -> None:
    """Take the shares of an offering back, of which no buyer has any, and end the offer of its master."""
    await ledger.post(
        tx,
        transfer=NewTransfer(
            kind="ipo_cancellation",
            key=key,
            postings=issued(ipo, 1),
            reference=f"ipo:{ipo.id}",
            allow_frozen=True,
        ),
        now=now,
    )
    await tx.execute(DELETE_LOTS, ipo_id=ipo.id)
    await masters.end_offer(tx, master_id=ipo.master_id, now=now)


def issued(ipo: IpoRow, sign: int) -> list[Posting]:
    """Return the postings that issue all shares (-1), or take them back when no buyer has any (1)."""
    asset = share_asset(ipo.id)
    postings = [
        Posting(AccountRef("ipo", ipo.id, "issuance", asset), sign * ipo.total_shares),
        Posting(AccountRef("ipo", ipo.id, "offering", asset), -sign * ipo.offered),
    ]
    if ipo.retained_shares:
        postings.append(Posting(user_account(ipo.artist_id, "shares", asset), -sign * ipo.retained_shares))
    return postings


async def lock_own(tx: Transaction, *, artist_id: UUID, master_id: UUID) -> IpoRow:
    """Lock the offering of the artist's master, and return it.

    Raises:
        Problem: 404.
    """
    ipo = await tx.fetch_one(LOCK_CURRENT, IpoRow, master_id=master_id)
    if ipo is None or ipo.artist_id != artist_id:
        raise core.not_found()
    return ipo


async def set_paused(tx: Transaction, *, master_id: UUID, paused: bool, by: Actor, now: datetime) -> IpoRow:
    """Pause a live offering, or let a paused one go on; return it. Repeating it changes nothing.

    Raises:
        Problem: 404, 409.
    """
    before, after = ("live", "paused") if paused else ("paused", "live")
    row = await tx.fetch_one(SET_STATUS, IpoRow, of_master=master_id, from_status=before, to_status=after)
    if row is not None:
        await record(tx, "paused" if paused else "resumed", ipo_id=row.id, by=by, now=now)
        return row
    ipo = await tx.fetch_one(CURRENT, IpoRow, master_id=master_id)
    if ipo is None:
        raise core.not_found()
    if ipo.status == after:
        return ipo
    raise problems.not_live()


async def set_allowlist(
    database: Database, *, artist_id: UUID, master_id: UUID, entries: Sequence[AllowlistEntry]
) -> None:
    """Replace the allowlist of an offering that hasn't ended.

    Raises:
        Problem: 404, 409, 422 for an account that doesn't exist or is there twice.
    """
    async with database.transaction() as tx:
        ipo = await lock_own(tx, artist_id=artist_id, master_id=master_id)
        if ipo.status not in {"draft", "live", "paused"}:
            raise problems.not_live()
        await tx.execute(DELETE_ALLOWLIST, ipo_id=ipo.id)
        try:
            await tx.execute(
                INSERT_ALLOWLIST,
                ipo_id=ipo.id,
                user_ids=[entry.user_id for entry in entries],
                caps=[entry.cap for entry in entries],
            )
        except (asyncpg.ForeignKeyViolationError, asyncpg.UniqueViolationError):
            detail = "Each user_id should be an account's, and be there once"
            raise invalid([FieldError(code="unknown", detail=detail, pointer="/entries")]) from None


def _check(body: IpoTerms, rates: Rates, now: datetime) -> None:
    terms.check(
        body,
        currencies=rates.currencies,
        platform_bps=rates.platform_bps,
        resale_fee_bps=rates.resale_fee_bps,
        now=now,
    )


def _values(body: IpoTerms, rates: Rates) -> dict[str, Any]:
    values = {name: getattr(body, name) for name in TERMS} | {name: getattr(rates, name) for name in RATES}
    return values | {
        "royalty": terms.canonical_json(body.royalty.model_dump()),
        "offered": body.total_shares - body.retained_shares,
    }
