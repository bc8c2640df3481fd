"""Refunds of deposits by card, and the connected accounts to which payouts go.

Step: expand
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0025"
down_revision: str | Sequence[str] | None = "0024"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

INSTANT = sa.DateTime(timezone=True)


def create_refunds() -> None:
    op.create_table(
        "deposit_refunds",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("deposit_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("hold_id", sa.Uuid(), nullable=False),
        sa.Column("provider_id", sa.Text(), nullable=True),
        sa.Column("transfer_id", sa.Uuid(), nullable=True),
        sa.Column("returned_by_id", sa.Uuid(), nullable=True),
        sa.Column("actor_id", sa.Uuid(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.CheckConstraint("amount BETWEEN 1 AND 9007199254740991", name=op.f("ck_deposit_refunds_amount")),
        sa.CheckConstraint(
            "status IN ('requested', 'submitted', 'succeeded', 'failed')", name=op.f("ck_deposit_refunds_status")
        ),
        sa.CheckConstraint(
            "(transfer_id IS NOT NULL) = (status = 'succeeded' OR returned_by_id IS NOT NULL)",
            name=op.f("ck_deposit_refunds_transfer"),
        ),
        sa.CheckConstraint("returned_by_id IS NULL OR status = 'failed'", name=op.f("ck_deposit_refunds_returned")),
        sa.CheckConstraint("char_length(reason) <= 200", name=op.f("ck_deposit_refunds_reason_length")),
        sa.ForeignKeyConstraint(["deposit_id"], ["deposits.id"], name=op.f("fk_deposit_refunds_deposit_id_deposits")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_deposit_refunds_user_id_users")),
        sa.ForeignKeyConstraint(["hold_id"], ["ledger_holds.id"], name=op.f("fk_deposit_refunds_hold_id_ledger_holds")),
        sa.ForeignKeyConstraint(
            ["transfer_id"], ["ledger_transfers.id"], name=op.f("fk_deposit_refunds_transfer_id_ledger_transfers")
        ),
        sa.ForeignKeyConstraint(
            ["returned_by_id"], ["ledger_transfers.id"], name=op.f("fk_deposit_refunds_returned_by_id_ledger_transfers")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deposit_refunds")),
        *(
            sa.UniqueConstraint(column, name=op.f(f"uq_deposit_refunds_{column}"))
            for column in ("hold_id", "provider_id", "transfer_id", "returned_by_id")
        ),
    )
    op.create_index("ix_deposit_refunds_user_id", "deposit_refunds", ["user_id", "id"])
    op.create_index(
        "ix_deposit_refunds_unended",
        "deposit_refunds",
        ["created_at"],
        postgresql_where=sa.text("status IN ('requested', 'submitted')"),
    )


def create_payout_accounts() -> None:
    op.create_table(
        "payout_accounts",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("provider_id", sa.Text(), nullable=False),
        sa.Column("country", sa.Text(), nullable=False),
        sa.Column("payouts_enabled", sa.Boolean(), nullable=False),
        sa.Column("requirements_due", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("synced_at", INSTANT, nullable=False),
        sa.CheckConstraint("cardinality(requirements_due) <= 50", name=op.f("ck_payout_accounts_requirements_due")),
        sa.CheckConstraint("country ~ '^[A-Z]{2}$'", name=op.f("ck_payout_accounts_country")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_payout_accounts_user_id_users")),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_payout_accounts")),
        sa.UniqueConstraint("provider_id", name=op.f("uq_payout_accounts_provider_id")),
    )


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '1s'")
    op.execute("SET LOCAL statement_timeout = '10s'")
    create_refunds()
    create_payout_accounts()


def downgrade() -> None:
    for table in ("payout_accounts", "deposit_refunds"):
        op.drop_table(table)
