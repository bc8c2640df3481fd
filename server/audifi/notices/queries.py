"""Statements and rows of what is read."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import bindparam, select

from audifi.auth.models import User
from audifi.core.db.pagination import PagedList
from audifi.core.db.statements import Statement
from audifi.ledger.models import Asset
from audifi.notices.models import Notice, NoticeKind


@dataclass(frozen=True, slots=True)
class NoticeRow:
    """A notice."""

    id: UUID
    kind: NoticeKind
    master_id: UUID | None
    title: str | None
    quantity: int | None
    amount: int | None
    currency: str | None
    reason: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class AddressedRow(NoticeRow):
    """A notice with the address of its account."""

    email: str
    scale: int | None
    """The decimals of the currency."""


COLUMNS = tuple(Notice.__table__.c[name] for name in NoticeRow.__slots__)
NOTICES = PagedList(
    "notices",
    select(*COLUMNS).where(Notice.user_id == bindparam("user_id")),
    NoticeRow,
    key=Notice.id,
    sorts={"created_at": Notice.created_at},
)
ADDRESSED = Statement(
    select(*COLUMNS, User.email, Asset.scale)
    .join_from(Notice, User, User.id == Notice.user_id)
    .outerjoin(Asset, Asset.code == Notice.currency)
    .where(Notice.id == bindparam("id"), User.deleted_at.is_(None))
)
