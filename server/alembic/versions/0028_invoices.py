"""Invoices of subscriptions and what came back of them, trials, and the e-mails about them.

Step: expand
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0028"
down_revision: str | Sequence[str] | None = "0027"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '1s'")
    op.execute("SET LOCAL statement_timeout = '10s'")
    create_invoices()
    create_trial_uses()
    create_billing_notices()


def create_invoices() -> None:
    op.create_table(
        "invoices",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("provider_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("subscription_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Text()),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("subtotal", sa.BigInteger(), nullable=False),
        sa.Column("tax", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("paid", sa.BigInteger(), nullable=False),
        sa.Column("tax_paid", sa.BigInteger(), nullable=False),
        sa.Column("refunded", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("refunded_tax", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("attempts", sa.BigInteger(), nullable=False),
        sa.Column("period_start", INSTANT, nullable=False),
        sa.Column("period_end", INSTANT, nullable=False),
        sa.Column("paid_at", INSTANT),
        sa.Column("hosted_url", sa.Text()),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_invoices")),
        sa.UniqueConstraint("provider_id", name=op.f("uq_invoices_provider_id")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_invoices_user_id_users")),
        sa.ForeignKeyConstraint(
            ["subscription_id"], ["subscriptions.id"], name=op.f("fk_invoices_subscription_id_subscriptions")
        ),
        sa.ForeignKeyConstraint(["currency"], ["ledger_assets.code"], name=op.f("fk_invoices_currency_ledger_assets")),
        sa.CheckConstraint(
            "status IN ('draft', 'open', 'paid', 'void', 'uncollectible')", name=op.f("ck_invoices_status")
        ),
        sa.CheckConstraint("0 <= refunded AND refunded <= paid", name=op.f("ck_invoices_refunded")),
        sa.CheckConstraint(
            "0 <= refunded_tax AND refunded_tax <= tax_paid AND tax_paid <= paid", name=op.f("ck_invoices_tax")
        ),
        sa.CheckConstraint("paid = 0 OR status = 'paid'", name=op.f("ck_invoices_paid")),
        sa.CheckConstraint(
            "char_length(provider_id) <= 100 AND char_length(number) <= 100", name=op.f("ck_invoices_id_length")
        ),
        sa.CheckConstraint("char_length(hosted_url) <= 2048", name=op.f("ck_invoices_hosted_url_length")),
    )
    op.create_table(
        "invoice_adjustments",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("provider_id", sa.Text(), nullable=False),
        sa.Column("invoice_id", sa.Uuid(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("tax", sa.BigInteger(), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("kind", "provider_id", name=op.f("pk_invoice_adjustments")),
        sa.ForeignKeyConstraint(
            ["invoice_id"], ["invoices.id"], name=op.f("fk_invoice_adjustments_invoice_id_invoices")
        ),
        sa.CheckConstraint(
            "kind IN ('refund', 'refund_returned', 'dispute', 'dispute_won')", name=op.f("ck_invoice_adjustments_kind")
        ),
        sa.CheckConstraint("char_length(provider_id) <= 100", name=op.f("ck_invoice_adjustments_provider_id_length")),
        sa.CheckConstraint("amount >= 1 AND tax BETWEEN 0 AND amount", name=op.f("ck_invoice_adjustments_amount")),
    )


def create_trial_uses() -> None:
    op.create_table(
        "trial_uses",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("card_hash", sa.LargeBinary()),
        sa.Column("mailbox_hash", sa.LargeBinary()),
        sa.Column("subscription_id", sa.Uuid(), nullable=False),
        sa.Column("used_at", INSTANT, nullable=False),
        sa.Column("is_refused", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_trial_uses")),
        sa.UniqueConstraint("card_hash", name=op.f("uq_trial_uses_card_hash")),
        sa.UniqueConstraint("mailbox_hash", name=op.f("uq_trial_uses_mailbox_hash")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_trial_uses_user_id_users")),
        sa.ForeignKeyConstraint(
            ["subscription_id"],
            ["subscriptions.id"],
            name=op.f("fk_trial_uses_subscription_id_subscriptions"),
            deferrable=True,
            initially="DEFERRED",
        ),
        sa.CheckConstraint(
            "NOT is_refused OR num_nulls(card_hash, mailbox_hash) = 2", name=op.f("ck_trial_uses_refused")
        ),
    )


def create_billing_notices() -> None:
    op.create_table(
        "billing_notices",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_billing_notices")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_billing_notices_user_id_users")),
        sa.CheckConstraint(
            "kind IN ('payment_failed', 'trial_ending', 'canceled', 'trial_refused')",
            name=op.f("ck_billing_notices_kind"),
        ),
    )
    op.create_index(op.f("ix_billing_notices_created_at"), "billing_notices", ["created_at"])


def downgrade() -> None:
    for table in ("billing_notices", "trial_uses", "invoice_adjustments", "invoices"):
        op.drop_table(table)
