"""Tables of the ledger. Triggers keep balances equal to entries and holds: docs/decisions/0035-ledger.md."""

from datetime import datetime
from decimal import Decimal
from typing import Literal
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    LargeBinary,
    Numeric,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from audifi.core.db.base import Base
from audifi.core.http.schemas import MAX_AMOUNT

type AssetKind = Literal["currency", "share", "coin"]
type OwnerKind = Literal["user", "platform", "provider", "ipo", "master", "pool"]
type HoldStatus = Literal["open", "posted", "voided", "expired"]

Instant = DateTime(timezone=True)
Units = Numeric(38, 0)
"""Fractions of a base unit: 10^-9 of one for each unit of the pool."""
ASSET_KINDS = "('currency', 'share', 'coin')"
NAME = "'^[a-z_]{1,40}$'"


class Asset(Base):
    """What is counted: a currency, the shares of an IPO, a coin. Rows are never changed."""

    __tablename__ = "ledger_assets"
    __table_args__ = (
        UniqueConstraint("code"),
        CheckConstraint("code ~ '^[A-Za-z0-9:_-]{1,60}$'", name="code"),
        CheckConstraint(f"kind IN {ASSET_KINDS}", name="kind"),
        CheckConstraint("scale BETWEEN 0 AND 9", name="scale"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    code: Mapped[str] = mapped_column(Text)  # `USD`, `share:{ipo_id}`, `coin:{coin_id}`
    kind: Mapped[str] = mapped_column(Text)
    scale: Mapped[int] = mapped_column(BigInteger)  # the decimals that people see


class Purpose(Base):
    """The chart of accounts: what accounts an owner may have, and the rules they get when they are opened."""

    __tablename__ = "ledger_purposes"
    __table_args__ = (CheckConstraint(f"asset_kind IN {ASSET_KINDS}", name="asset_kind"),)

    owner_kind: Mapped[str] = mapped_column(Text, primary_key=True)
    purpose: Mapped[str] = mapped_column(Text, primary_key=True)
    asset_kind: Mapped[str] = mapped_column(Text)
    floor: Mapped[int | None] = mapped_column(BigInteger)
    accrues: Mapped[bool] = mapped_column()


class Account(Base):
    """The balance of an owner in an asset, for a purpose. Busy ones are split into stripes."""

    __tablename__ = "ledger_accounts"
    __table_args__ = (
        UniqueConstraint("owner_kind", "owner_id", "purpose", "asset_id", "stripe", postgresql_nulls_not_distinct=True),
        UniqueConstraint("id", "asset_id"),
        ForeignKeyConstraint(["owner_kind", "purpose"], ["ledger_purposes.owner_kind", "ledger_purposes.purpose"]),
        CheckConstraint("stripe BETWEEN 0 AND 15", name="stripe"),
        CheckConstraint(f"posted BETWEEN -{MAX_AMOUNT} AND {MAX_AMOUNT}", name="posted"),
        CheckConstraint("held >= 0", name="held"),
        CheckConstraint("posted - held >= floor", name="floor"),
        CheckConstraint("purpose <> 'debt' OR posted <= 0", name="debt"),
        {"postgresql_with": {"fillfactor": "50"}},  # balances change in place (HOT)
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)  # UUIDv8 of the address (RFC 9562, 5.8)
    owner_id: Mapped[UUID | None] = mapped_column()
    asset_id: Mapped[int] = mapped_column(ForeignKey("ledger_assets.id"))
    stripe: Mapped[int] = mapped_column(BigInteger)
    posted: Mapped[int] = mapped_column(BigInteger)  # positive: what the owner has
    held: Mapped[int] = mapped_column(BigInteger)
    floor: Mapped[int | None] = mapped_column(BigInteger)
    version: Mapped[int] = mapped_column(BigInteger)  # the number of entries
    last_posted_at: Mapped[datetime | None] = mapped_column(Instant)
    frozen_at: Mapped[datetime | None] = mapped_column(Instant)  # since then nothing leaves it
    created_at: Mapped[datetime] = mapped_column(Instant)
    accrues: Mapped[bool] = mapped_column()  # whether its units take part in distributions
    owner_kind: Mapped[str] = mapped_column(Text)
    purpose: Mapped[str] = mapped_column(Text)


class Transfer(Base):
    """Entries that are posted together. Append-only."""

    __tablename__ = "ledger_transfers"
    __table_args__ = (
        UniqueConstraint("key"),
        UniqueConstraint("reverses"),
        CheckConstraint(f"kind ~ {NAME}", name="kind"),
        CheckConstraint("char_length(key) BETWEEN 1 AND 200", name="key_length"),
        CheckConstraint("char_length(operator) <= 100", name="operator_length"),
        CheckConstraint("char_length(reference) <= 100", name="reference_length"),
        CheckConstraint("char_length(reason) <= 200", name="reason_length"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)  # UUIDv7
    kind: Mapped[str] = mapped_column(Text)
    key: Mapped[str] = mapped_column(Text)
    hash: Mapped[bytes] = mapped_column(LargeBinary)  # SHA-256 of what was asked for with the key
    reverses: Mapped[UUID | None] = mapped_column(ForeignKey("ledger_transfers.id"))
    actor_id: Mapped[UUID | None] = mapped_column()  # the account that asked for it
    operator: Mapped[str | None] = mapped_column(Text)  # who asked for it at a console
    reference: Mapped[str] = mapped_column(Text)  # the owners of its accounts see it
    reason: Mapped[str | None] = mapped_column(Text)  # operators see it
    occurred_at: Mapped[datetime] = mapped_column(Instant)
    created_at: Mapped[datetime] = mapped_column(Instant)


class Entry(Base):
    """One account's part of a transfer. Append-only; a trigger applies it to the account."""

    __tablename__ = "ledger_entries"
    __table_args__ = (
        UniqueConstraint("account_id", "version"),
        ForeignKeyConstraint(["account_id", "asset_id"], ["ledger_accounts.id", "ledger_accounts.asset_id"]),
        CheckConstraint("amount <> 0", name="amount"),
    )

    transfer_id: Mapped[UUID] = mapped_column(ForeignKey("ledger_transfers.id"), primary_key=True)
    account_id: Mapped[UUID] = mapped_column(primary_key=True)
    asset_id: Mapped[int] = mapped_column(BigInteger)
    amount: Mapped[int] = mapped_column(BigInteger)
    balance_after: Mapped[int] = mapped_column(BigInteger)
    version: Mapped[int] = mapped_column(BigInteger)  # its number among the entries of the account
    posted_at: Mapped[datetime] = mapped_column(Instant)  # rises with the version


class Hold(Base):
    """A reserved amount: open until a transfer uses it, or it is voided, or it expires."""

    __tablename__ = "ledger_holds"
    __table_args__ = (
        UniqueConstraint("key"),
        CheckConstraint(f"amount BETWEEN 1 AND {MAX_AMOUNT}", name="amount"),
        CheckConstraint("status IN ('open', 'posted', 'voided', 'expired')", name="status"),
        CheckConstraint("(status = 'posted') = (transfer_id IS NOT NULL)", name="transfer"),
        CheckConstraint("char_length(key) BETWEEN 1 AND 200", name="key_length"),
        CheckConstraint(f"purpose ~ {NAME}", name="purpose"),
        Index("ix_ledger_holds_expires_at", "expires_at", postgresql_where=text("status = 'open'")),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)  # UUIDv7
    account_id: Mapped[UUID] = mapped_column(ForeignKey("ledger_accounts.id"))
    amount: Mapped[int] = mapped_column(BigInteger)
    status: Mapped[str] = mapped_column(Text, server_default=text("'open'"))
    key: Mapped[str] = mapped_column(Text)
    purpose: Mapped[str] = mapped_column(Text)
    expires_at: Mapped[datetime] = mapped_column(Instant)
    transfer_id: Mapped[UUID | None] = mapped_column(ForeignKey("ledger_transfers.id"))
    created_at: Mapped[datetime] = mapped_column(Instant)


class Pool(Base):
    """Money that belongs to the holders of an asset, in proportion to their units. A trigger opens its account.

    Money that its account gets is distributed; money that it pays is a claim, of the account in `ledger_claims`.
    """

    __tablename__ = "ledger_pools"
    __table_args__ = (
        UniqueConstraint("share_asset_id", "currency_asset_id"),
        CheckConstraint("units > 0", name="units"),
        CheckConstraint("per_unit >= 0", name="per_unit"),
        CheckConstraint("residue >= 0 AND residue < units", name="residue"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    share_asset_id: Mapped[int] = mapped_column(ForeignKey("ledger_assets.id"))
    currency_asset_id: Mapped[int] = mapped_column(ForeignKey("ledger_assets.id"))
    account_id: Mapped[UUID] = mapped_column(ForeignKey("ledger_accounts.id"))  # its first stripe
    units: Mapped[int] = mapped_column(BigInteger)
    per_unit: Mapped[Decimal] = mapped_column(Units)  # what a unit held from the beginning has accrued
    residue: Mapped[Decimal] = mapped_column(Units)


class Accrual(Base):
    """What an account has accrued in a pool up to a checkpoint. No row: nothing, up to 0."""

    __tablename__ = "ledger_accruals"
    __table_args__ = (
        CheckConstraint("checkpoint >= 0", name="checkpoint"),
        CheckConstraint("accrued >= 0", name="accrued"),
    )

    pool_id: Mapped[UUID] = mapped_column(ForeignKey("ledger_pools.id"), primary_key=True)
    account_id: Mapped[UUID] = mapped_column(ForeignKey("ledger_accounts.id"), primary_key=True)
    checkpoint: Mapped[Decimal] = mapped_column(Units)  # the pool's per_unit at that time
    accrued: Mapped[Decimal] = mapped_column(Units)


class AccrualClaim(Base):
    """The account from whose accruals a transfer takes what it takes from pools. Append-only."""

    __tablename__ = "ledger_claims"

    # A row comes before its transfer: the entries are applied, and refused, as they are inserted.
    transfer_id: Mapped[UUID] = mapped_column(
        ForeignKey("ledger_transfers.id", deferrable=True, initially="DEFERRED"), primary_key=True
    )
    account_id: Mapped[UUID] = mapped_column(ForeignKey("ledger_accounts.id"))
