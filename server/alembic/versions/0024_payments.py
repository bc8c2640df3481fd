"""Payments: customers, events, syncs and checkouts of Stripe's.

Step: expand
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0024"
down_revision: str | Sequence[str] | None = "0023"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

INSTANT = sa.DateTime(timezone=True)
IS_LIVE = sa.text("status IN ('creating', 'open')")


def create_events() -> None:
    op.create_table(
        "provider_events",
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("object_kind", sa.Text(), nullable=False),
        sa.Column("object_id", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=True),
        sa.Column("livemode", sa.Boolean(), nullable=False),
        sa.Column("api_version", sa.Text(), nullable=True),
        sa.Column("created", INSTANT, nullable=False),
        sa.Column("received_at", INSTANT, nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("attempts", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("sync_kind", sa.Text(), nullable=True),
        sa.Column("sync_id", sa.Text(), nullable=True),
        sa.CheckConstraint("(sync_kind IS NULL) = (status = 'ignored')", name=op.f("ck_provider_events_ignored")),
        sa.CheckConstraint("status IN ('queued', 'done', 'ignored', 'failed')", name=op.f("ck_provider_events_status")),
        sa.PrimaryKeyConstraint("event_id", name=op.f("pk_provider_events")),
    )
    op.create_index(
        "ix_provider_events_undone",
        "provider_events",
        ["sync_kind", "sync_id"],
        postgresql_where=sa.text("status IN ('queued', 'failed')"),
    )
    op.create_index("ix_provider_events_status", "provider_events", ["status", "received_at", "event_id"])
    op.create_index("ix_provider_events_received_at", "provider_events", ["received_at", "event_id"])


def create_syncs() -> None:
    op.create_table(
        "provider_syncs",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("provider_id", sa.Text(), nullable=False),
        sa.Column("requested", sa.BigInteger(), nullable=False),
        sa.Column("synced", sa.BigInteger(), nullable=False),
        sa.Column("next_at", INSTANT, nullable=False),
        sa.Column("failures", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.CheckConstraint("synced BETWEEN 0 AND requested", name=op.f("ck_provider_syncs_synced")),
        sa.CheckConstraint(
            "char_length(provider_id) BETWEEN 1 AND 255", name=op.f("ck_provider_syncs_provider_id_length")
        ),
        sa.PrimaryKeyConstraint("kind", "provider_id", name=op.f("pk_provider_syncs")),
    )
    op.create_index(
        "ix_provider_syncs_behind",
        "provider_syncs",
        ["next_at"],
        postgresql_where=sa.text("synced < requested"),
    )
    op.create_table(
        "provider_cursors",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("position", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_provider_cursors")),
    )


def create_checkouts() -> None:
    op.create_table(
        "checkouts",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("plan", sa.Text(), nullable=True),
        sa.Column("interval", sa.Text(), nullable=True),
        sa.Column("price_id", sa.Text(), nullable=True),
        sa.Column("is_trial", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("success_path", sa.Text(), nullable=False),
        sa.Column("cancel_path", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("provider_id", sa.Text(), nullable=True),
        sa.Column("url", sa.Text(), nullable=True),
        sa.Column("expires_at", INSTANT, nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.CheckConstraint("kind IN ('subscription', 'deposit')", name=op.f("ck_checkouts_kind")),
        sa.CheckConstraint(
            "status IN ('creating', 'open', 'complete', 'expired', 'failed')", name=op.f("ck_checkouts_status")
        ),
        sa.CheckConstraint("amount BETWEEN 1 AND 9007199254740991", name=op.f("ck_checkouts_amount")),
        sa.CheckConstraint(
            "(kind = 'subscription') = (plan IS NOT NULL AND interval IS NOT NULL AND price_id IS NOT NULL)",
            name=op.f("ck_checkouts_plan"),
        ),
        sa.CheckConstraint("interval IN ('month', 'year')", name=op.f("ck_checkouts_interval")),
        sa.CheckConstraint("NOT is_trial OR kind = 'subscription'", name=op.f("ck_checkouts_is_trial")),
        sa.CheckConstraint(
            "status <> 'open' OR (provider_id IS NOT NULL AND url IS NOT NULL)", name=op.f("ck_checkouts_open")
        ),
        sa.CheckConstraint("char_length(url) <= 2048", name=op.f("ck_checkouts_url_length")),
        sa.CheckConstraint("char_length(success_path) <= 2048", name=op.f("ck_checkouts_success_path_length")),
        sa.CheckConstraint("char_length(cancel_path) <= 2048", name=op.f("ck_checkouts_cancel_path_length")),
        sa.ForeignKeyConstraint(["currency"], ["ledger_assets.code"], name=op.f("fk_checkouts_currency_ledger_assets")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_checkouts_user_id_users")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_checkouts")),
        sa.UniqueConstraint("provider_id", name=op.f("uq_checkouts_provider_id")),
    )
    op.create_index(
        "uq_checkouts_subscription",
        "checkouts",
        ["user_id"],
        unique=True,
        postgresql_where=sa.text("kind = 'subscription' AND status IN ('creating', 'open')"),
    )
    op.create_index("ix_checkouts_user_id", "checkouts", ["user_id", "id"])
    op.create_index("ix_checkouts_live", "checkouts", ["created_at"], postgresql_where=IS_LIVE)


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '1s'")
    op.execute("SET LOCAL statement_timeout = '10s'")
    op.create_table(
        "provider_customers",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("provider_id", sa.Text(), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("deleted_at", INSTANT, nullable=True),
        sa.CheckConstraint(
            "char_length(provider_id) BETWEEN 1 AND 255", name=op.f("ck_provider_customers_provider_id_length")
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_provider_customers_user_id_users")),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_provider_customers")),
        sa.UniqueConstraint("provider_id", name=op.f("uq_provider_customers_provider_id")),
    )
    create_events()
    create_syncs()
    create_checkouts()


def downgrade() -> None:
    for table in ("checkouts", "provider_cursors", "provider_syncs", "provider_events", "provider_customers"):
        op.drop_table(table)
