"""Read queries of listings and of the terms of their sale."""

from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import TypeAdapter
from sqlalchemy import BigInteger, ColumnElement, Text, Uuid, and_, bindparam, case, literal_column, or_, select, text
from sqlalchemy.dialects.postgresql import ARRAY

from audifi.core.db.pagination import PagedList
from audifi.core.db.statements import Statement
from audifi.dividends.queries import NEXT_RECORD_AT_OF_IPO
from audifi.ipos.models import SERIALS_PER_IPO, Ipo
from audifi.ipos.splits import ResaleSplit, Royalty, split_resale
from audifi.masters.models import Master
from audifi.resale.models import Listing, ListingStatus

ROYALTY: TypeAdapter[Royalty] = TypeAdapter(Royalty)

IS_OPEN: ColumnElement[bool] = literal_column("listings.status = 'open'")
"""Written out, because the indexes of open listings fit no parameter."""

_listings, _ipos, _masters = Listing.__table__, Ipo.__table__, Master.__table__


@dataclass(frozen=True, slots=True)
class SharesRow:
    """The shares of a listing, and their price."""

    id: UUID
    master_id: UUID
    title: str
    serials: Any
    quantity: int
    unit_price: int
    total: int
    currency: str

    @property
    def first_and_last(self) -> tuple[int, int]:
        """The first and the last serial."""
        first = int(self.serials.lower) % SERIALS_PER_IPO
        return first, first + self.quantity - 1


@dataclass(frozen=True, slots=True)
class ListingRow(SharesRow):
    """A listing."""

    seller_id: UUID
    status: ListingStatus
    expires_at: datetime
    created_at: datetime
    closed_at: datetime | None
    next_record_at: datetime | None
    """When the master's next declared distribution is shared out."""


@dataclass(frozen=True, slots=True)
class PurchaseRow(SharesRow):
    """A listing that was bought, for its buyer."""

    bought_at: datetime


@dataclass(frozen=True, slots=True)
class SaleRow(ListingRow):
    """A listing with the terms of its sale, which never change."""

    artist_id: UUID
    royalty: str
    royalty_to_holders_bps: int
    resale_fee_bps: int
    minters: list[UUID | None]
    """None for an account that was deleted."""

    def split(self) -> ResaleSplit:
        """Divide the total among all parties."""
        first, last = self.first_and_last
        return split_resale(
            unit_price=self.unit_price,
            serials=range(first, last + 1),
            royalty=ROYALTY.validate_json(self.royalty),
            royalty_to_holders_bps=self.royalty_to_holders_bps,
            resale_fee_bps=self.resale_fee_bps,
            minters=self.minters,
        )


@dataclass(frozen=True, slots=True)
class OfferingRow:
    """The offering whose shares are resold."""

    id: UUID
    number: int
    status: str
    currency: str
    royalty: str
    royalty_to_holders_bps: int
    resale_fee_bps: int
    title: str
    suspended_at: datetime | None
    next_record_at: datetime | None


@dataclass(frozen=True, slots=True)
class MinterRow:
    """One of the first accounts that bought in an offering, and still exists."""

    user_id: UUID
    rank: int
    display_name: str | None
    """None for an account that doesn't show its name."""


_now = bindparam("now", type_=_listings.c.expires_at.type)
_has_expired = and_(IS_OPEN, _listings.c.expires_at <= _now)
"""Also before the job has ended it."""
_status: ColumnElement[str] = case((_has_expired, literal_column("'expired'", Text)), else_=_listings.c.status)
_shares = (
    select(
        *(_listings.c[field.name] for field in fields(SharesRow) if field.name in _listings.c),
        _ipos.c.master_id,
        _ipos.c.currency,
        _masters.c.title,
    )
    .join_from(_listings, _ipos, _ipos.c.id == _listings.c.ipo_id)
    .join(_masters, _masters.c.id == _ipos.c.master_id)
)
_listing_of_ipo = _shares.add_columns(
    *(_listings.c[name] for name in ("seller_id", "expires_at", "created_at", "closed_at")),
    _status.label("status"),
    NEXT_RECORD_AT_OF_IPO.label("next_record_at"),
)
LISTINGS = PagedList(
    "listings",
    _listing_of_ipo.where(_listings.c.ipo_id == bindparam("ipo_id"), IS_OPEN, _listings.c.expires_at > _now),
    ListingRow,
    key=_listings.c.id,
    sorts={"unit_price": _listings.c.unit_price, "created_at": _listings.c.created_at},
)
OWN_LISTINGS = PagedList(
    "own_listings",
    _listing_of_ipo.where(_listings.c.seller_id == bindparam("owner_id")),
    ListingRow,
    key=_listings.c.id,
    sorts={},
    filters={"status": _status == bindparam("status")},
)
PURCHASES = PagedList(
    "listing_purchases",
    _shares.add_columns(_listings.c.closed_at.label("bought_at")).where(_listings.c.buyer_id == bindparam("owner_id")),
    PurchaseRow,
    key=_listings.c.id,
    sorts={"bought_at": _listings.c.closed_at},  # never null where there is a buyer
)
_viewer_id = bindparam("viewer_id", type_=Uuid)
VISIBLE = Statement(
    _listing_of_ipo.where(
        _listings.c.id == bindparam("listing_id"),
        or_(
            _status == "open",
            _listings.c.seller_id == _viewer_id,
            _listings.c.buyer_id == _viewer_id,
        ),
    )
)
"""A listing that can be bought, or that the account has sold, canceled, or bought."""
OFFERING = Statement(
    select(
        *(_ipos.c[name] for name in OfferingRow.__slots__ if name in _ipos.c),
        _masters.c.title,
        _masters.c.suspended_at,
        NEXT_RECORD_AT_OF_IPO.label("next_record_at"),
    )
    .join_from(_ipos, _masters, _masters.c.id == _ipos.c.master_id)
    .where(_ipos.c.master_id == bindparam("master_id"))
    .order_by(_ipos.c.created_at.desc())
    .limit(1)
)
"""The master's newest offering; another one was canceled, and has no shares."""
_MINTERS = """ARRAY(
    SELECT CASE WHEN users.deleted_at IS NULL THEN users.id END
    FROM unnest(ipos.minters) WITH ORDINALITY AS m(user_id, rank) JOIN users ON users.id = m.user_id
    ORDER BY m.rank
)"""
SALE = Statement(
    _listing_of_ipo.add_columns(
        _ipos.c.artist_id,
        _ipos.c.royalty,
        _ipos.c.royalty_to_holders_bps,
        _ipos.c.resale_fee_bps,
        literal_column(_MINTERS, ARRAY(Uuid)).label("minters"),
    ).where(_listings.c.id == bindparam("listing_id"))
)
MINTERS = Statement(
    text("""
        SELECT u.id AS user_id, m.rank, CASE WHEN p.is_public THEN u.display_name END AS display_name
        FROM ipos AS i
            CROSS JOIN unnest(i.minters) WITH ORDINALITY AS m(user_id, rank)
            JOIN users AS u ON u.id = m.user_id AND u.deleted_at IS NULL
            LEFT JOIN holder_profiles AS p ON p.user_id = u.id
        WHERE i.master_id = :master_id AND i.status = 'completed'
        ORDER BY m.rank
    """).columns(user_id=Uuid, rank=BigInteger, display_name=Text)
)
