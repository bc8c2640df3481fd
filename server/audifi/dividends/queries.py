"""Read queries of revenue, pools and claims."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Select, Uuid, and_, any_, bindparam, func, literal_column, select, tuple_
from sqlalchemy.dialects.postgresql import ARRAY

from audifi.core.db.database import Database
from audifi.core.db.pagination import PagedList
from audifi.core.db.statements import Statement
from audifi.dividends.distributions import COLUMNS as DISTRIBUTION_COLUMNS
from audifi.dividends.models import Distribution as DistributionModel
from audifi.dividends.models import DividendClaim, DividendPool, Payer, RevenueEvent, RevenueSource, RevenueStatus
from audifi.ipos.models import Ipo
from audifi.ledger.models import Account, Accrual, Asset, Pool
from audifi.ledger.pools import SCALE
from audifi.masters.models import Master

CSV_BATCH_ROWS = 1000
MAX_DISTRIBUTIONS = 20
"""Shown of a master, the newest."""

_accounts, _pools, _accruals = Account.__table__, Pool.__table__, Accrual.__table__
_ipos, _masters, _claims = Ipo.__table__, Master.__table__, DividendClaim.__table__
_events, _distributions = RevenueEvent.__table__, DistributionModel.__table__
_links = DividendPool.__table__
_user_id = bindparam("user_id", type_=Uuid)


@dataclass(frozen=True, slots=True)
class ClaimableRow:
    """What a holder can claim from a pool."""

    id: UUID
    master_id: UUID
    title: str
    currency: str
    shares: int
    amount: int
    withholding_bps: int
    next_record_at: datetime | None


@dataclass(frozen=True, slots=True)
class ClaimRow:
    """A claim."""

    transfer_id: UUID
    master_id: UUID
    title: str
    currency: str
    scale: int
    amount: int
    withheld: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class RevenueRow:
    """A revenue event."""

    id: UUID
    source: RevenueSource
    amount: int
    currency: str
    period_start: date
    period_end: date
    provider: str
    external_ref: str
    statement_id: UUID | None
    status: RevenueStatus
    funded_from: Payer | None
    distribution_id: UUID | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class CurrencyTotal:
    """An amount in a currency."""

    currency: str
    amount: int


@dataclass(frozen=True, slots=True)
class ClaimedTotal:
    """What a holder has claimed in a currency."""

    currency: str
    amount: int
    withheld: int
    claims: int


@dataclass(frozen=True, slots=True)
class RevenueTotal:
    """Revenue in a currency, by status."""

    currency: str
    recorded: int
    funded: int
    distributed: int


@dataclass(frozen=True, slots=True)
class PartsTotal:
    """Who got the distributed revenue in a currency."""

    currency: str
    platform: int
    artist: int
    holders: int


@dataclass(frozen=True, slots=True)
class PoolRow:
    """A master's pool in a currency."""

    id: UUID
    currency: str
    units: int
    per_unit: Decimal
    residue: Decimal
    balance: int

    @property
    def distributed(self) -> int:
        """Return what all holders together have got so far."""
        return (int(self.per_unit) * self.units + int(self.residue)) // SCALE


@dataclass(frozen=True, slots=True)
class _NextRecordRow:
    ipo_id: UUID
    record_at: datetime


_claimable = func.ledger_claimable_v1(
    _accruals.c.accrued, _accruals.c.checkpoint, _accounts.c.posted, _pools.c.per_unit, type_=BigInteger
)
IS_CLAIMABLE = _claimable > 0
NEXT_RECORD_AT_OF_IPO = (
    select(func.min(_distributions.c.record_at))
    .where(_distributions.c.ipo_id == _ipos.c.id, _distributions.c.status == "declared")
    .correlate(_ipos)
    .scalar_subquery()
)
"""When the next declared distribution of an offering is shared out, in a statement that selects from `ipos`."""


def claimable_of(*columns: Any) -> Select[*tuple[Any, ...]]:
    """Return the select of what a user can claim, by pool; its parameter is `user_id`."""
    return (
        select(*columns)
        .select_from(_accounts)
        .join(_pools, _pools.c.share_asset_id == _accounts.c.asset_id)
        .join(_links, _links.c.pool_id == _pools.c.id)
        .join(_ipos, _ipos.c.id == _links.c.ipo_id)
        .join(_masters, _masters.c.id == _ipos.c.master_id)
        .outerjoin(_accruals, and_(_accruals.c.pool_id == _pools.c.id, _accruals.c.account_id == _accounts.c.id))
        .where(
            _accounts.c.owner_kind == "user",
            _accounts.c.owner_id == _user_id,
            _accounts.c.purpose == "shares",
            IS_CLAIMABLE,
        )
    )


CLAIMABLE = PagedList(
    "claimable",
    claimable_of(
        _pools.c.id,
        _masters.c.id.label("master_id"),
        _masters.c.title,
        _links.c.currency,
        _accounts.c.posted.label("shares"),
        _claimable.label("amount"),
        func.dividend_withholding_bps_v1(_user_id, type_=BigInteger).label("withholding_bps"),
        NEXT_RECORD_AT_OF_IPO.label("next_record_at"),
    ),
    ClaimableRow,
    key=_pools.c.id,
    sorts={},
)
CLAIMABLE_TOTALS = Statement(
    claimable_of(_links.c.currency, func.sum(_claimable).cast(BigInteger).label("amount")).group_by(_links.c.currency)
)
HAS_CLAIMABLE = Statement(select(claimable_of(_pools.c.id).exists()))

_claimed = (
    select(
        _claims.c.transfer_id,
        _masters.c.id.label("master_id"),
        _masters.c.title,
        _links.c.currency,
        Asset.scale,
        _claims.c.amount,
        _claims.c.withheld,
        _claims.c.created_at,
    )
    .join_from(_claims, _links, _links.c.pool_id == _claims.c.pool_id)
    .join(_ipos, _ipos.c.id == _links.c.ipo_id)
    .join(Asset, Asset.code == _links.c.currency)
    .join(_masters, _masters.c.id == _ipos.c.master_id)
    .where(_claims.c.user_id == _user_id)
)
HISTORY = PagedList(
    "dividend_claims", _claimed, ClaimRow, key=_claims.c.transfer_id, sorts={"created_at": _claims.c.created_at}
)
CLAIMED_TOTALS = Statement(
    select(
        _links.c.currency,
        func.sum(_claims.c.amount).cast(BigInteger).label("amount"),
        func.sum(_claims.c.withheld).cast(BigInteger).label("withheld"),
        func.count().label("claims"),
    )
    .join_from(_claims, _links, _links.c.pool_id == _claims.c.pool_id)
    .where(_claims.c.user_id == _user_id)
    .group_by(_links.c.currency)
)
_in_period = and_(
    _claims.c.created_at >= bindparam("since", type_=_claims.c.created_at.type),
    _claims.c.created_at < bindparam("until", type_=_claims.c.created_at.type),
)
NEXT_CLAIMS = Statement(
    _claimed.where(
        _in_period,
        tuple_(_claims.c.created_at, _claims.c.transfer_id)
        > tuple_(
            bindparam("after_time", type_=_claims.c.created_at.type),
            bindparam("after_id", type_=Uuid),
        ),
    )
    .order_by(_claims.c.created_at, _claims.c.transfer_id)
    .limit(CSV_BATCH_ROWS)
)
BEYOND = Statement(
    select(_claims.c.transfer_id)
    .where(_claims.c.user_id == _user_id, _in_period)
    .offset(bindparam("rows", type_=BigInteger))
    .limit(1)
)

_revenue = select(*(_events.c[name] for name in RevenueRow.__slots__))
REVENUE_EVENT = Statement(_revenue.where(_events.c.id == bindparam("event_id")))
REVENUE = PagedList(
    "revenue",
    _revenue.where(_events.c.ipo_id == bindparam("ipo_id")),
    RevenueRow,
    key=_events.c.id,
    sorts={},
    filters={"status": _events.c.status == bindparam("status")},
)


def _sum(column: Any, *conditions: Any) -> Any:
    total = func.sum(column).filter(*conditions) if conditions else func.sum(column)
    return func.coalesce(total, 0).cast(BigInteger)


_revenue_totals = (
    select(
        _events.c.currency,
        *(
            _sum(_events.c.amount, _events.c.status == literal_column(f"'{status}'")).label(status)
            for status in ("recorded", "funded", "distributed")
        ),
    )
    .group_by(_events.c.currency)
    .order_by(_events.c.currency)
)
_parts_totals = (
    select(
        _distributions.c.currency,
        *(_sum(_distributions.c[name]).label(name) for name in ("platform", "artist", "holders")),
    )
    .where(_distributions.c.status == "posted")
    .group_by(_distributions.c.currency)
)
REVENUE_OF_IPO = Statement(_revenue_totals.where(_events.c.ipo_id == bindparam("ipo_id")))
PARTS_OF_IPO = Statement(_parts_totals.where(_distributions.c.ipo_id == bindparam("ipo_id")))
_own_ipos = (
    select(_ipos.c.id)
    .join(_masters, _masters.c.id == _ipos.c.master_id)
    .where(_masters.c.artist_id == bindparam("artist_id"))
)
REVENUE_OF_ARTIST = Statement(_revenue_totals.where(_events.c.ipo_id.in_(_own_ipos)))
PARTS_OF_ARTIST = Statement(_parts_totals.where(_distributions.c.ipo_id.in_(_own_ipos)))

_balance = (
    select(func.sum(_accounts.c.posted).cast(BigInteger))
    .where(_accounts.c.owner_kind == "pool", _accounts.c.owner_id == _pools.c.id)
    .correlate(_pools)
    .scalar_subquery()
)
POOLS = Statement(
    select(
        _pools.c.id,
        _links.c.currency,
        _pools.c.units,
        _pools.c.per_unit,
        _pools.c.residue,
        _balance.label("balance"),
    )
    .join_from(_links, _pools, _pools.c.id == _links.c.pool_id)
    .where(_links.c.ipo_id == bindparam("ipo_id"))
    .order_by(_links.c.currency)
)
DISTRIBUTIONS = Statement(
    select(*DISTRIBUTION_COLUMNS)
    .where(_distributions.c.ipo_id == bindparam("ipo_id"))
    .order_by(_distributions.c.record_at.desc())
    .limit(MAX_DISTRIBUTIONS)
)
NEXT_RECORD_AT = Statement(
    select(_distributions.c.ipo_id, func.min(_distributions.c.record_at).label("record_at"))
    .where(
        _distributions.c.ipo_id == any_(bindparam("ipo_ids", type_=ARRAY(Uuid))),
        _distributions.c.status == "declared",
    )
    .group_by(_distributions.c.ipo_id)
)
UNCLAIMED = Statement(
    select(Asset.code.label("currency"), func.sum(_accounts.c.posted).cast(BigInteger).label("amount"))
    .join_from(_accounts, Asset, Asset.id == _accounts.c.asset_id)
    .where(_accounts.c.owner_kind == "pool")
    .group_by(Asset.code)
)
OLDEST_DUE = Statement(
    select(func.min(_distributions.c.record_at))
    .join_from(_distributions, _ipos, _ipos.c.id == _distributions.c.ipo_id)
    .join(_masters, _masters.c.id == _ipos.c.master_id)
    .where(
        literal_column("distributions.status = 'declared'"),
        _distributions.c.record_at <= bindparam("now", type_=_distributions.c.record_at.type),
        _masters.c.suspended_at.is_(None),
    )
)


async def next_record_at(database: Database, *, ipo_ids: Sequence[UUID]) -> dict[UUID, datetime]:
    """Return when the next declared distribution of each offering is shared out; offerings without one are left out."""
    rows = await database.fetch_all(NEXT_RECORD_AT, _NextRecordRow, ipo_ids=ipo_ids)
    return {row.ipo_id: row.record_at for row in rows}


async def claims_between(
    database: Database, *, user_id: UUID, since: datetime, until: datetime
) -> AsyncIterator[ClaimRow]:
    """Yield a user's claims of a period, oldest first, in batches that keep no connection."""
    after_time, after_id = since, UUID(int=0)
    while rows := await database.fetch_all(
        NEXT_CLAIMS, ClaimRow, user_id=user_id, since=since, until=until, after_time=after_time, after_id=after_id
    ):
        for row in rows:
            yield row
        after_time, after_id = rows[-1].created_at, rows[-1].transfer_id
