"""Read queries of the ledger."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, Text, Uuid, and_, bindparam, exists, func, select, text

from audifi.core.db.database import Database
from audifi.core.db.pagination import PagedList
from audifi.core.db.statements import Statement
from audifi.ledger.accounts import Purpose
from audifi.ledger.models import Account, Asset, AssetKind, Entry, OwnerKind, Transfer

CSV_BATCH_ROWS = 1000


# Entries that sum to nothing leave nothing behind; a hold is part of a balance.
IS_EMPTY = Statement(
    select(~exists().where(Account.owner_kind == "user", Account.owner_id == bindparam("user_id"), Account.posted != 0))
)


@dataclass(frozen=True, slots=True)
class AccountRow:
    id: UUID
    purpose: Purpose
    asset: str
    scale: int
    posted: int
    held: int
    frozen_at: datetime | None


@dataclass(frozen=True, slots=True)
class EntryRow:
    version: int
    transfer_id: UUID
    kind: str
    reference: str
    amount: int
    balance_after: int
    posted_at: datetime
    occurred_at: datetime


@dataclass(frozen=True, slots=True)
class StatementRow:
    """An account, and the part of its history in a period."""

    account_id: UUID
    asset: str
    scale: int
    first_version: int
    """The version before the first entry of the period."""
    last_version: int
    opening_balance: int
    closing_balance: int


@dataclass(frozen=True, slots=True)
class TotalRow:
    """The sum of the accounts of a purpose in an asset."""

    asset: str
    asset_kind: AssetKind
    scale: int
    owner_kind: OwnerKind
    purpose: Purpose
    posted: int
    held: int
    accounts: int


ACCOUNTS = PagedList(
    "ledger_accounts",
    select(
        Account.id,
        Account.purpose,
        Asset.code.label("asset"),
        Asset.scale,
        Account.posted,
        Account.held,
        Account.frozen_at,
    )
    .join(Asset, Asset.id == Account.asset_id)
    .where(Account.owner_kind == "user", Account.owner_id == bindparam("owner_id")),
    AccountRow,
    key=Account.id,
    sorts={},
    filters={"purpose": Account.purpose == bindparam("purpose")},
)

_entries = select(
    Entry.version,
    Entry.transfer_id,
    Transfer.kind,
    Transfer.reference,
    Entry.amount,
    Entry.balance_after,
    Entry.posted_at,
    Transfer.occurred_at,
).join(Transfer, Transfer.id == Entry.transfer_id)
_in_period = and_(
    Entry.account_id == bindparam("account_id"),
    Entry.version > bindparam("first_version"),
    Entry.version <= bindparam("last_version"),
)
ENTRIES = PagedList("ledger_entries", _entries.where(_in_period), EntryRow, key=Entry.version, sorts={})
NEXT_ENTRIES = Statement(_entries.where(_in_period).order_by(Entry.version))

# The account of an owner, or of anyone for an admin; balance_after of the last entry before an instant is the balance.
STATEMENT = Statement(
    text("""
        SELECT period.id AS account_id, asset.code AS asset, asset.scale, first_version, last_version,
            coalesce(opening.balance_after, 0) AS opening_balance, coalesce(closing.balance_after, 0) AS closing_balance
        FROM (
            SELECT id, asset_id,
                CASE WHEN CAST(:since AS timestamptz) IS NULL THEN 0
                    ELSE ledger_version_before_v1(id, CAST(:since AS timestamptz)) END AS first_version,
                CASE WHEN CAST(:until AS timestamptz) IS NULL THEN version
                    ELSE ledger_version_before_v1(id, CAST(:until AS timestamptz)) END AS last_version
            FROM ledger_accounts
            WHERE id = :account_id AND (owner_kind = 'user' AND owner_id = :user_id OR CAST(:is_admin AS boolean))
            OFFSET 0
        ) AS period JOIN ledger_assets AS asset ON asset.id = period.asset_id
            LEFT JOIN ledger_entries AS opening ON opening.account_id = period.id AND opening.version = first_version
            LEFT JOIN ledger_entries AS closing ON closing.account_id = period.id AND closing.version = last_version
    """).columns(
        account_id=Uuid,
        asset=Text,
        scale=BigInteger,
        first_version=BigInteger,
        last_version=BigInteger,
        opening_balance=BigInteger,
        closing_balance=BigInteger,
    )
)
# Reads all accounts.
TRIAL_BALANCE = Statement(
    select(
        Asset.code.label("asset"),
        Asset.kind.label("asset_kind"),
        Asset.scale,
        Account.owner_kind,
        Account.purpose,
        func.sum(Account.posted).cast(BigInteger).label("posted"),
        func.sum(Account.held).cast(BigInteger).label("held"),
        func.count().label("accounts"),
    )
    .join(Asset, Asset.id == Account.asset_id)
    .where(Asset.kind == "currency")
    .group_by(Asset.code, Asset.kind, Asset.scale, Account.owner_kind, Account.purpose)
    .order_by(Asset.code, Account.owner_kind, Account.purpose)
)


async def entries_of(database: Database, statement: StatementRow) -> AsyncIterator[EntryRow]:
    """Yield the entries of a period, oldest first, in batches that keep no connection."""
    version = statement.first_version
    while version < statement.last_version:
        rows = await database.fetch_all(
            NEXT_ENTRIES,
            EntryRow,
            account_id=statement.account_id,
            first_version=version,
            last_version=min(version + CSV_BATCH_ROWS, statement.last_version),
        )
        for row in rows:
            yield row
        version += CSV_BATCH_ROWS
