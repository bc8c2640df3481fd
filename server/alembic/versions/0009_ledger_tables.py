"""Tables of the double-entry ledger.

Step: expand
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0009"
down_revision: str | Sequence[str] | None = "0008"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

INSTANT = sa.DateTime(timezone=True)
UNITS = sa.Numeric(38, 0)
MAX = 2**53 - 1

# ISO 4217, with the number of decimals.
CURRENCIES = """
INSERT INTO ledger_assets (code, kind, scale) VALUES
    ('AUD', 'currency', 2), ('BRL', 'currency', 2), ('CAD', 'currency', 2), ('CHF', 'currency', 2),
    ('DKK', 'currency', 2), ('EUR', 'currency', 2), ('GBP', 'currency', 2), ('INR', 'currency', 2),
    ('JPY', 'currency', 0), ('KRW', 'currency', 0), ('MXN', 'currency', 2), ('NOK', 'currency', 2),
    ('NZD', 'currency', 2), ('PLN', 'currency', 2), ('SEK', 'currency', 2), ('USD', 'currency', 2)
"""

PURPOSES = """
INSERT INTO ledger_purposes (owner_kind, purpose, asset_kind, floor, accrues) VALUES
    ('user', 'available', 'currency', 0, false),
    ('user', 'pending', 'currency', 0, false),
    ('user', 'debt', 'currency', NULL, false),
    ('user', 'shares', 'share', 0, true),
    ('platform', 'fees', 'currency', NULL, false),
    ('platform', 'withholding', 'currency', 0, false),
    ('platform', 'suspense', 'currency', 0, false),
    ('platform', 'subscriptions', 'currency', 0, false),
    ('platform', 'tax', 'currency', 0, false),
    ('platform', 'provider_fees', 'currency', NULL, false),
    ('provider', 'external', 'currency', NULL, false),
    ('provider', 'bank', 'currency', NULL, false),
    ('ipo', 'escrow', 'currency', 0, false),
    ('ipo', 'offering', 'share', 0, true),
    ('ipo', 'issuance', 'share', NULL, false),
    ('master', 'bridge', 'share', 0, true),
    ('pool', 'pool', 'currency', 0, false)
"""


def upgrade() -> None:
    create_assets()
    create_accounts()
    create_transfers()
    create_entries()
    create_holds()
    create_pools()
    op.execute(CURRENCIES)
    op.execute(PURPOSES)


def create_assets() -> None:
    op.create_table(
        "ledger_assets",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("scale", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ledger_assets")),
        sa.UniqueConstraint("code", name=op.f("uq_ledger_assets_code")),
        sa.CheckConstraint("code ~ '^[A-Za-z0-9:_-]{1,60}$'", name=op.f("ck_ledger_assets_code")),
        sa.CheckConstraint("kind IN ('currency', 'share', 'coin')", name=op.f("ck_ledger_assets_kind")),
        sa.CheckConstraint("scale BETWEEN 0 AND 9", name=op.f("ck_ledger_assets_scale")),
    )
    op.create_table(
        "ledger_purposes",
        sa.Column("owner_kind", sa.Text(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("asset_kind", sa.Text(), nullable=False),
        sa.Column("floor", sa.BigInteger()),
        sa.Column("accrues", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("owner_kind", "purpose", name=op.f("pk_ledger_purposes")),
        sa.CheckConstraint("asset_kind IN ('currency', 'share', 'coin')", name=op.f("ck_ledger_purposes_asset_kind")),
    )


def create_accounts() -> None:
    op.create_table(
        "ledger_accounts",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("owner_id", sa.Uuid()),
        sa.Column("asset_id", sa.BigInteger(), nullable=False),
        sa.Column("stripe", sa.BigInteger(), nullable=False),
        sa.Column("posted", sa.BigInteger(), nullable=False),
        sa.Column("held", sa.BigInteger(), nullable=False),
        sa.Column("floor", sa.BigInteger()),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("last_posted_at", INSTANT),
        sa.Column("frozen_at", INSTANT),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("accrues", sa.Boolean(), nullable=False),
        sa.Column("owner_kind", sa.Text(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ledger_accounts")),
        sa.UniqueConstraint(
            "owner_kind",
            "owner_id",
            "purpose",
            "asset_id",
            "stripe",
            name=op.f("uq_ledger_accounts_owner_kind_owner_id_purpose_asset_id_stripe"),
            postgresql_nulls_not_distinct=True,
        ),
        sa.UniqueConstraint("id", "asset_id", name=op.f("uq_ledger_accounts_id_asset_id")),
        sa.ForeignKeyConstraint(
            ["owner_kind", "purpose"],
            ["ledger_purposes.owner_kind", "ledger_purposes.purpose"],
            name=op.f("fk_ledger_accounts_owner_kind_purpose_ledger_purposes"),
        ),
        sa.ForeignKeyConstraint(
            ["asset_id"], ["ledger_assets.id"], name=op.f("fk_ledger_accounts_asset_id_ledger_assets")
        ),
        sa.CheckConstraint("stripe BETWEEN 0 AND 15", name=op.f("ck_ledger_accounts_stripe")),
        sa.CheckConstraint(f"posted BETWEEN -{MAX} AND {MAX}", name=op.f("ck_ledger_accounts_posted")),
        sa.CheckConstraint("held >= 0", name=op.f("ck_ledger_accounts_held")),
        sa.CheckConstraint("posted - held >= floor", name=op.f("ck_ledger_accounts_floor")),
        postgresql_with={"fillfactor": "50"},
    )


def create_transfers() -> None:
    op.create_table(
        "ledger_transfers",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("reverses", sa.Uuid()),
        sa.Column("actor_id", sa.Uuid()),
        sa.Column("operator", sa.Text()),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text()),
        sa.Column("occurred_at", INSTANT, nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ledger_transfers")),
        sa.UniqueConstraint("key", name=op.f("uq_ledger_transfers_key")),
        sa.UniqueConstraint("reverses", name=op.f("uq_ledger_transfers_reverses")),
        sa.ForeignKeyConstraint(
            ["reverses"], ["ledger_transfers.id"], name=op.f("fk_ledger_transfers_reverses_ledger_transfers")
        ),
        sa.CheckConstraint("kind ~ '^[a-z_]{1,40}$'", name=op.f("ck_ledger_transfers_kind")),
        sa.CheckConstraint("char_length(key) BETWEEN 1 AND 200", name=op.f("ck_ledger_transfers_key_length")),
        sa.CheckConstraint("char_length(operator) <= 100", name=op.f("ck_ledger_transfers_operator_length")),
        sa.CheckConstraint("char_length(reference) <= 100", name=op.f("ck_ledger_transfers_reference_length")),
        sa.CheckConstraint("char_length(reason) <= 200", name=op.f("ck_ledger_transfers_reason_length")),
    )


def create_entries() -> None:
    op.create_table(
        "ledger_entries",
        sa.Column("transfer_id", sa.Uuid(), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("asset_id", sa.BigInteger(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("balance_after", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("posted_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("transfer_id", "account_id", name=op.f("pk_ledger_entries")),
        sa.UniqueConstraint("account_id", "version", name=op.f("uq_ledger_entries_account_id_version")),
        sa.ForeignKeyConstraint(
            ["transfer_id"], ["ledger_transfers.id"], name=op.f("fk_ledger_entries_transfer_id_ledger_transfers")
        ),
        sa.ForeignKeyConstraint(
            ["account_id", "asset_id"],
            ["ledger_accounts.id", "ledger_accounts.asset_id"],
            name=op.f("fk_ledger_entries_account_id_asset_id_ledger_accounts"),
        ),
        sa.CheckConstraint("amount <> 0", name=op.f("ck_ledger_entries_amount")),
    )


def create_holds() -> None:
    op.create_table(
        "ledger_holds",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.Text(), server_default=sa.text("'open'"), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("expires_at", INSTANT, nullable=False),
        sa.Column("transfer_id", sa.Uuid()),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ledger_holds")),
        sa.UniqueConstraint("key", name=op.f("uq_ledger_holds_key")),
        sa.ForeignKeyConstraint(
            ["account_id"], ["ledger_accounts.id"], name=op.f("fk_ledger_holds_account_id_ledger_accounts")
        ),
        sa.ForeignKeyConstraint(
            ["transfer_id"], ["ledger_transfers.id"], name=op.f("fk_ledger_holds_transfer_id_ledger_transfers")
        ),
        sa.CheckConstraint(f"amount BETWEEN 1 AND {MAX}", name=op.f("ck_ledger_holds_amount")),
        sa.CheckConstraint("status IN ('open', 'posted', 'voided', 'expired')", name=op.f("ck_ledger_holds_status")),
        sa.CheckConstraint("(status = 'posted') = (transfer_id IS NOT NULL)", name=op.f("ck_ledger_holds_transfer")),
        sa.CheckConstraint("char_length(key) BETWEEN 1 AND 200", name=op.f("ck_ledger_holds_key_length")),
        sa.CheckConstraint("purpose ~ '^[a-z_]{1,40}$'", name=op.f("ck_ledger_holds_purpose")),
    )
    op.create_index(
        "ix_ledger_holds_expires_at", "ledger_holds", ["expires_at"], postgresql_where=sa.text("status = 'open'")
    )


def create_pools() -> None:
    op.create_table(
        "ledger_pools",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("share_asset_id", sa.BigInteger(), nullable=False),
        sa.Column("currency_asset_id", sa.BigInteger(), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("units", sa.BigInteger(), nullable=False),
        sa.Column("per_unit", UNITS, nullable=False),
        sa.Column("residue", UNITS, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ledger_pools")),
        sa.UniqueConstraint(
            "share_asset_id", "currency_asset_id", name=op.f("uq_ledger_pools_share_asset_id_currency_asset_id")
        ),
        sa.ForeignKeyConstraint(
            ["share_asset_id"], ["ledger_assets.id"], name=op.f("fk_ledger_pools_share_asset_id_ledger_assets")
        ),
        sa.ForeignKeyConstraint(
            ["currency_asset_id"], ["ledger_assets.id"], name=op.f("fk_ledger_pools_currency_asset_id_ledger_assets")
        ),
        sa.ForeignKeyConstraint(
            ["account_id"], ["ledger_accounts.id"], name=op.f("fk_ledger_pools_account_id_ledger_accounts")
        ),
        sa.CheckConstraint("units > 0", name=op.f("ck_ledger_pools_units")),
        sa.CheckConstraint("per_unit >= 0", name=op.f("ck_ledger_pools_per_unit")),
        sa.CheckConstraint("residue >= 0 AND residue < units", name=op.f("ck_ledger_pools_residue")),
    )
    op.create_table(
        "ledger_accruals",
        sa.Column("pool_id", sa.Uuid(), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("checkpoint", UNITS, nullable=False),
        sa.Column("accrued", UNITS, nullable=False),
        sa.PrimaryKeyConstraint("pool_id", "account_id", name=op.f("pk_ledger_accruals")),
        sa.ForeignKeyConstraint(["pool_id"], ["ledger_pools.id"], name=op.f("fk_ledger_accruals_pool_id_ledger_pools")),
        sa.ForeignKeyConstraint(
            ["account_id"], ["ledger_accounts.id"], name=op.f("fk_ledger_accruals_account_id_ledger_accounts")
        ),
        sa.CheckConstraint("checkpoint >= 0", name=op.f("ck_ledger_accruals_checkpoint")),
        sa.CheckConstraint("accrued >= 0", name=op.f("ck_ledger_accruals_accrued")),
    )


def downgrade() -> None:
    for table in ("accruals", "pools", "holds", "entries", "transfers", "accounts", "purposes", "assets"):
        op.drop_table(f"ledger_{table}")
