"""Read queries of offerings, purchases and shares."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Uuid, and_, any_, bindparam, case, func, literal_column, or_, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import ARRAY

from audifi.auth.models import User
from audifi.compliance.service import rule_check
from audifi.core.db.pagination import PagedList
from audifi.core.db.statements import Statement, parameters
from audifi.ipos.models import (
    SERIALS_PER_IPO,
    HolderProfile,
    Ipo,
    IpoAllowlistEntry,
    IpoBuyer,
    IpoPurchase,
    ShareLot,
    ShareMovement,
)
from audifi.ledger.models import Account
from audifi.masters.models import Master

MAX_RANGES = 100
MAX_MOVEMENTS = 100
"""Returned of one share."""


@dataclass(frozen=True, slots=True)
class IpoRow:
    """An offering."""

    id: UUID
    number: int
    master_id: UUID
    artist_id: UUID
    status: str
    currency: str
    total_shares: int
    retained_shares: int
    offered: int
    unit_price: int
    max_per_account: int
    min_shares: int
    holders_bps: int
    platform_bps: int
    sale_fee_bps: int
    resale_fee_bps: int
    royalty: str
    royalty_to_holders_bps: int
    lockup_days: int
    reflection_hours: int
    countries_blocked: list[str]
    opens_at: datetime
    allowlist_until: datetime | None
    ends_at: datetime
    sold: int
    returned: int
    reserved: int
    buyers: int
    terms_sha256: bytes | None
    version: int
    minters: list[UUID]

    @property
    def escrow(self) -> int:
        """Return what buyers have paid and not got back."""
        return (self.sold - self.returned) * self.unit_price

    @property
    def available(self) -> int:
        """Return how many shares are neither sold nor reserved."""
        return self.offered - self.sold - self.reserved

    @property
    def first_number(self) -> int:
        """Return the number before serial 1, in the number space of all offerings."""
        return self.number * SERIALS_PER_IPO


_ipos = Ipo.__table__
IPO_COLUMNS = tuple(_ipos.c[name] for name in IpoRow.__slots__)
_by_master = select(*IPO_COLUMNS).where(_ipos.c.master_id == bindparam("master_id"))
CURRENT = Statement(_by_master.order_by(_ipos.c.created_at.desc()).limit(1))
"""The master's newest offering."""
LOCK_CURRENT = Statement(_by_master.where(literal_column("ipos.status <> 'canceled'")).with_for_update(key_share=True))
LOCK = Statement(select(*IPO_COLUMNS).where(_ipos.c.id == bindparam("id")).with_for_update(key_share=True))
LIVE_OF_ARTIST = Statement(
    select(func.count(), rule_check("launch"))
    .select_from(_ipos)
    .where(_ipos.c.artist_id == bindparam("user_id"), or_(_ipos.c.status == "live", _ipos.c.status == "paused"))
)


def shown_status(ipo: IpoRow, now: datetime) -> str:
    """Return the status as clients see it: no job has to run for an offering to open or end."""
    if ipo.status == "live" and now < ipo.opens_at:
        return "scheduled"
    if ipo.status == "live" and (now >= ipo.ends_at or ipo.sold == ipo.offered):
        return "ended"
    return ipo.status


_buyers, _allowlist = IpoBuyer.__table__, IpoAllowlistEntry.__table__


@dataclass(frozen=True, slots=True)
class BuyerRow:
    """What an account has bought, and whether it is on the allowlist."""

    bought: int | None
    reserved: int | None
    ordinal: int | None
    is_allowed: bool
    allowed_cap: int | None


BUYER = Statement(
    select(
        _buyers.c.bought.label("bought"),
        _buyers.c.reserved.label("reserved"),
        _buyers.c.ordinal,
        (_allowlist.c.user_id.is_not(None)).label("is_allowed"),
        _allowlist.c.cap.label("allowed_cap"),
    )
    .select_from(_ipos)
    .outerjoin(_buyers, and_(_buyers.c.ipo_id == _ipos.c.id, _buyers.c.user_id == bindparam("user_id")))
    .outerjoin(_allowlist, and_(_allowlist.c.ipo_id == _ipos.c.id, _allowlist.c.user_id == bindparam("user_id")))
    .where(_ipos.c.id == bindparam("ipo_id"))
)

_accounts = Account.__table__
_lots, _movements = ShareLot.__table__, ShareMovement.__table__
_users, _profiles, _masters = User.__table__, HolderProfile.__table__, Master.__table__
_shown_name = case((_profiles.c.is_public, _users.c.display_name)).label("display_name")


@dataclass(frozen=True, slots=True)
class HolderRow:
    """An account that holds shares."""

    account_id: UUID
    shares: int
    display_name: str | None


@dataclass(frozen=True, slots=True)
class HoldingRow:
    """An account's shares of a master."""

    account_id: UUID
    shares: int
    master_id: UUID
    title: str


@dataclass(frozen=True, slots=True)
class LotRow:
    """Contiguous serials."""

    account_id: UUID
    serials: Any


@dataclass(frozen=True, slots=True)
class ShareRow:
    """The holder of a share."""

    display_name: str | None


@dataclass(frozen=True, slots=True)
class MovementRow:
    """A movement of shares."""

    reason: str
    price: int
    serials: Any
    at: datetime
    transfer_id: UUID


HOLDERS = PagedList(
    "holders",
    select(
        _lots.c.account_id,
        func.sum(func.upper(_lots.c.serials) - func.lower(_lots.c.serials)).cast(BigInteger).label("shares"),
        _shown_name,
    )
    .join_from(_lots, _accounts, _accounts.c.id == _lots.c.account_id)
    .join(_users, _users.c.id == _accounts.c.owner_id)
    .outerjoin(_profiles, _profiles.c.user_id == _users.c.id)
    .where(_lots.c.ipo_id == bindparam("ipo_id"))
    .group_by(_lots.c.account_id, _profiles.c.is_public, _users.c.display_name),
    HolderRow,
    key=_lots.c.account_id,
    sorts={},
)
_ipo_of_account = (
    select(_lots.c.ipo_id).where(_lots.c.account_id == _accounts.c.id).limit(1).correlate(_accounts).scalar_subquery()
)
HOLDINGS = PagedList(
    "holdings",
    select(
        _accounts.c.id.label("account_id"),
        _accounts.c.posted.label("shares"),
        _ipos.c.master_id,
        _masters.c.title,
    )
    .join_from(_accounts, _ipos, _ipos.c.id == _ipo_of_account)
    .join(_masters, _masters.c.id == _ipos.c.master_id)
    .where(
        _accounts.c.owner_kind == "user",
        _accounts.c.owner_id == bindparam("owner_id"),
        _accounts.c.purpose == "shares",
        _accounts.c.posted > 0,
    ),
    HoldingRow,
    key=_accounts.c.id.label("account_id"),
    sorts={},
)
_ranked = (
    select(
        _lots.c.account_id,
        _lots.c.serials,
        func.row_number().over(partition_by=_lots.c.account_id, order_by=_lots.c.serials).label("place"),
    )
    .where(_lots.c.account_id == any_(bindparam("account_ids", type_=ARRAY(Uuid))))
    .subquery()
)
LOTS = Statement(
    select(_ranked.c.account_id, _ranked.c.serials)
    .where(_ranked.c.place <= MAX_RANGES)
    .order_by(_ranked.c.account_id, _ranked.c.serials)
)
_number = bindparam("number", type_=BigInteger)
SHARE = Statement(
    select(_shown_name)
    .select_from(_lots)
    .join(_accounts, _accounts.c.id == _lots.c.account_id)
    .outerjoin(_users, (_users.c.id == _accounts.c.owner_id) & (_accounts.c.owner_kind == "user"))
    .outerjoin(_profiles, _profiles.c.user_id == _users.c.id)
    .where(_lots.c.serials.op("@>")(_number))
)
MOVEMENTS = Statement(
    select(*(_movements.c[name] for name in MovementRow.__slots__))
    .where(_movements.c.serials.op("@>")(_number))
    .order_by(_movements.c.at.desc(), _movements.c.id.desc())
    .limit(MAX_MOVEMENTS)
)


@dataclass(frozen=True, slots=True)
class PurchaseRow:
    """A purchase, for its buyer."""

    id: UUID
    master_id: UUID
    title: str
    quantity: int
    unit_price: int
    total: int
    currency: str
    serials: Any
    status: str
    created_at: datetime
    ipo_status: str
    reflection_hours: int

    def withdrawable_until(self, now: datetime) -> datetime | None:
        """Return until when the buyer may withdraw; None if it isn't possible any more."""
        until = self.created_at + timedelta(hours=self.reflection_hours)
        return until if self.status == "settled" and self.ipo_status in {"live", "paused"} and until > now else None


_purchases = IpoPurchase.__table__
PURCHASES = PagedList(
    "purchases",
    select(
        *(_purchases.c[name] for name in ("id", "quantity", "unit_price", "total", "serials", "status", "created_at")),
        _ipos.c.master_id,
        _ipos.c.currency,
        _ipos.c.status.label("ipo_status"),
        _ipos.c.reflection_hours,
        _masters.c.title,
    )
    .join_from(_purchases, _ipos, _ipos.c.id == _purchases.c.ipo_id)
    .join(_masters, _masters.c.id == _ipos.c.master_id)
    .where(_purchases.c.user_id == bindparam("owner_id")),
    PurchaseRow,
    key=_purchases.c.id,
    sorts={},
    filters={"master_id": _ipos.c.master_id == bindparam("master_id")},
)
_visibility = postgresql.insert(_profiles).values(parameters("user_id", "is_public"))
SET_VISIBILITY = Statement(
    _visibility.on_conflict_do_update(index_elements=["user_id"], set_={"is_public": _visibility.excluded.is_public})
)
