"""Deposits, their disputes, and payouts.

Step: expand
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0013"
down_revision: str | Sequence[str] | None = "0012"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '1s'")
    op.execute("SET LOCAL statement_timeout = '10s'")
    op.execute("ALTER TABLE ledger_accounts VALIDATE CONSTRAINT ck_ledger_accounts_debt")
    op.create_table(
        "deposits",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("provider_ref", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("refunding", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("disputed", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("transfer_id", sa.Uuid(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "(status IN ('disputed', 'lost')) = (disputed > 0)", name=op.f("ck_deposits_status_of_disputes")
        ),
        sa.CheckConstraint(
            "(status IN ('pending', 'failed')) = (transfer_id IS NULL)", name=op.f("ck_deposits_transfer")
        ),
        sa.CheckConstraint("provider ~ '^[a-z_]{1,40}$'", name=op.f("ck_deposits_provider")),
        sa.CheckConstraint(
            "status IN ('pending', 'succeeded', 'failed', 'disputed', 'lost')", name=op.f("ck_deposits_status")
        ),
        sa.CheckConstraint("amount BETWEEN 1 AND 9007199254740991", name=op.f("ck_deposits_amount")),
        sa.CheckConstraint("char_length(provider_ref) BETWEEN 1 AND 100", name=op.f("ck_deposits_provider_ref_length")),
        sa.CheckConstraint("disputed BETWEEN 0 AND amount", name=op.f("ck_deposits_disputed")),
        sa.CheckConstraint("refunding BETWEEN 0 AND amount", name=op.f("ck_deposits_refunding")),
        sa.ForeignKeyConstraint(["currency"], ["ledger_assets.code"], name=op.f("fk_deposits_currency_ledger_assets")),
        sa.ForeignKeyConstraint(
            ["transfer_id"], ["ledger_transfers.id"], name=op.f("fk_deposits_transfer_id_ledger_transfers")
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_deposits_user_id_users")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deposits")),
        sa.UniqueConstraint("provider", "provider_ref", name=op.f("uq_deposits_provider_provider_ref")),
        sa.UniqueConstraint("transfer_id", name=op.f("uq_deposits_transfer_id")),
    )
    op.create_index("ix_deposits_user_id", "deposits", ["user_id", "id"], unique=False)

    op.create_table(
        "deposit_disputes",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("deposit_id", sa.Uuid(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("provider_ref", sa.Text(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("transfer_id", sa.Uuid(), nullable=True),
        sa.Column("returned_by_id", sa.Uuid(), nullable=True),
        sa.Column("operator", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "(returned_by_id IS NOT NULL) = (status = 'won' AND transfer_id IS NOT NULL)",
            name=op.f("ck_deposit_disputes_returned"),
        ),
        sa.CheckConstraint("provider ~ '^[a-z_]{1,40}$'", name=op.f("ck_deposit_disputes_provider")),
        sa.CheckConstraint("status = 'won' OR transfer_id IS NOT NULL", name=op.f("ck_deposit_disputes_transfer")),
        sa.CheckConstraint("status IN ('open', 'lost', 'won')", name=op.f("ck_deposit_disputes_status")),
        sa.CheckConstraint("amount BETWEEN 1 AND 9007199254740991", name=op.f("ck_deposit_disputes_amount")),
        sa.CheckConstraint("char_length(operator) <= 100", name=op.f("ck_deposit_disputes_operator_length")),
        sa.CheckConstraint(
            "char_length(provider_ref) BETWEEN 1 AND 100", name=op.f("ck_deposit_disputes_provider_ref_length")
        ),
        sa.CheckConstraint("char_length(reason) <= 200", name=op.f("ck_deposit_disputes_reason_length")),
        sa.ForeignKeyConstraint(["deposit_id"], ["deposits.id"], name=op.f("fk_deposit_disputes_deposit_id_deposits")),
        sa.ForeignKeyConstraint(
            ["returned_by_id"],
            ["ledger_transfers.id"],
            name=op.f("fk_deposit_disputes_returned_by_id_ledger_transfers"),
        ),
        sa.ForeignKeyConstraint(
            ["transfer_id"], ["ledger_transfers.id"], name=op.f("fk_deposit_disputes_transfer_id_ledger_transfers")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deposit_disputes")),
        sa.UniqueConstraint("provider", "provider_ref", name=op.f("uq_deposit_disputes_provider_provider_ref")),
        sa.UniqueConstraint("returned_by_id", name=op.f("uq_deposit_disputes_returned_by_id")),
        sa.UniqueConstraint("transfer_id", name=op.f("uq_deposit_disputes_transfer_id")),
    )

    op.create_table(
        "payouts",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("provider_ref", sa.Text(), nullable=True),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("hold_id", sa.Uuid(), nullable=False),
        sa.Column("transfer_id", sa.Uuid(), nullable=True),
        sa.Column("returned_by_id", sa.Uuid(), nullable=True),
        sa.Column("operator", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("submitted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(status IN ('requested', 'submitted')) = (ended_at IS NULL)", name=op.f("ck_payouts_ended_at")
        ),
        sa.CheckConstraint(
            "(transfer_id IS NOT NULL) = (status = 'paid' OR returned_by_id IS NOT NULL)",
            name=op.f("ck_payouts_transfer"),
        ),
        sa.CheckConstraint("provider ~ '^[a-z_]{1,40}$'", name=op.f("ck_payouts_provider")),
        sa.CheckConstraint("returned_by_id IS NULL OR status = 'failed'", name=op.f("ck_payouts_returned")),
        sa.CheckConstraint(
            "status IN ('requested', 'submitted', 'paid', 'failed', 'canceled')", name=op.f("ck_payouts_status")
        ),
        sa.CheckConstraint(
            "status NOT IN ('submitted', 'paid') OR submitted_at IS NOT NULL", name=op.f("ck_payouts_submitted_at")
        ),
        sa.CheckConstraint("amount BETWEEN 1 AND 9007199254740991", name=op.f("ck_payouts_amount")),
        sa.CheckConstraint("char_length(operator) <= 100", name=op.f("ck_payouts_operator_length")),
        sa.CheckConstraint("char_length(provider_ref) BETWEEN 1 AND 100", name=op.f("ck_payouts_provider_ref_length")),
        sa.CheckConstraint("char_length(reason) <= 200", name=op.f("ck_payouts_reason_length")),
        sa.ForeignKeyConstraint(["currency"], ["ledger_assets.code"], name=op.f("fk_payouts_currency_ledger_assets")),
        sa.ForeignKeyConstraint(["hold_id"], ["ledger_holds.id"], name=op.f("fk_payouts_hold_id_ledger_holds")),
        sa.ForeignKeyConstraint(
            ["returned_by_id"], ["ledger_transfers.id"], name=op.f("fk_payouts_returned_by_id_ledger_transfers")
        ),
        sa.ForeignKeyConstraint(
            ["transfer_id"], ["ledger_transfers.id"], name=op.f("fk_payouts_transfer_id_ledger_transfers")
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_payouts_user_id_users")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_payouts")),
        sa.UniqueConstraint("hold_id", name=op.f("uq_payouts_hold_id")),
        sa.UniqueConstraint("returned_by_id", name=op.f("uq_payouts_returned_by_id")),
        sa.UniqueConstraint("transfer_id", name=op.f("uq_payouts_transfer_id")),
    )
    op.create_index("ix_payouts_user_id", "payouts", ["user_id", "id"], unique=False)
    op.create_index(
        "ix_payouts_open",
        "payouts",
        ["user_id"],
        unique=False,
        postgresql_where=sa.text("status IN ('requested', 'submitted')"),
    )


def downgrade() -> None:
    for table in ("payouts", "deposit_disputes", "deposits"):
        op.drop_table(table)
