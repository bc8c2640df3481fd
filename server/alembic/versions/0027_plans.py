"""Plans: prices, subscriptions, grants, and what accounts use.

Step: expand

What exists by now counts: each master that isn't archived is a use. An artist with several gets a grant that has ended:
nothing is taken away, and new masters need a plan. A master that the previous release registers while this one is
deployed isn't counted; one that it archives stays counted until it is archived once more, which changes nothing else.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0027"
down_revision: str | Sequence[str] | None = "0026"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

INSTANT = sa.DateTime(timezone=True)
LIVE = "status IN ('trialing', 'active', 'past_due', 'unpaid', 'paused', 'unknown')"
COUNT_MASTERS = (
    """
    INSERT INTO usage_uses (user_id, key, ref, period, used_at)
        SELECT artist_id, 'masters', id, '-infinity', created_at FROM masters WHERE status <> 'archived'
    """,
    """
    INSERT INTO usage_counters (user_id, key, period, used)
        SELECT user_id, key, period, count(*) FROM usage_uses GROUP BY user_id, key, period
    """,
    """
    INSERT INTO plan_grants (id, user_id, plan, reason, operator, starts_at, ends_at)
        SELECT gen_random_uuid(), user_id, 'PRO', 'Masters from before there were plans', 'migration',
            min(used_at), greatest(max(used_at) + interval '1 second', now())
        FROM usage_uses GROUP BY user_id HAVING count(*) > 1
    """,
)


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '1s'")
    op.execute("SET LOCAL statement_timeout = '10s'")
    create_plan_prices()
    create_subscriptions()
    create_plan_grants()
    create_usage()
    for statement in COUNT_MASTERS:
        op.execute(statement)


def create_plan_prices() -> None:
    op.create_table(
        "plan_prices",
        sa.Column("price_id", sa.Text(), nullable=False),
        sa.Column("plan", sa.Text(), nullable=False),
        sa.Column("interval", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("unit_amount", sa.BigInteger(), nullable=False),
        sa.Column("lookup_key", sa.Text()),
        sa.Column("entitlements_version", sa.BigInteger(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("price_id", name=op.f("pk_plan_prices")),
        sa.UniqueConstraint("lookup_key", name=op.f("uq_plan_prices_lookup_key")),
        sa.ForeignKeyConstraint(
            ["currency"], ["ledger_assets.code"], name=op.f("fk_plan_prices_currency_ledger_assets")
        ),
        sa.CheckConstraint("plan IN ('PRO', 'ENTERPRISE')", name=op.f("ck_plan_prices_plan")),
        sa.CheckConstraint("\"interval\" IN ('month', 'year')", name=op.f("ck_plan_prices_interval")),
        sa.CheckConstraint("unit_amount BETWEEN 1 AND 9007199254740991", name=op.f("ck_plan_prices_unit_amount")),
        sa.CheckConstraint(
            "char_length(price_id) <= 100 AND char_length(lookup_key) <= 200", name=op.f("ck_plan_prices_id_length")
        ),
        sa.CheckConstraint("entitlements_version >= 1", name=op.f("ck_plan_prices_entitlements_version")),
    )


def create_subscriptions() -> None:
    op.create_table(
        "subscriptions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("provider_id", sa.Text(), nullable=False),
        sa.Column("plan", sa.Text(), nullable=False),
        sa.Column("interval", sa.Text(), nullable=False),
        sa.Column("price_id", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("period_start", INSTANT, nullable=False),
        sa.Column("period_end", INSTANT, nullable=False),
        sa.Column("trial_end", INSTANT),
        sa.Column("cancel_at_period_end", sa.Boolean(), nullable=False),
        sa.Column("canceled_at", INSTANT),
        sa.Column("ended_at", INSTANT),
        sa.Column("past_due_since", INSTANT),
        sa.Column("pending_plan", sa.Text()),
        sa.Column("pending_interval", sa.Text()),
        sa.Column("pending_at", INSTANT),
        sa.Column("access_until", INSTANT, nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("synced_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_subscriptions")),
        sa.UniqueConstraint("provider_id", name=op.f("uq_subscriptions_provider_id")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_subscriptions_user_id_users")),
        sa.ForeignKeyConstraint(
            ["price_id"], ["plan_prices.price_id"], name=op.f("fk_subscriptions_price_id_plan_prices")
        ),
        sa.CheckConstraint(
            "plan IN ('PRO', 'ENTERPRISE') AND pending_plan IN ('PRO', 'ENTERPRISE')",
            name=op.f("ck_subscriptions_plan"),
        ),
        sa.CheckConstraint(
            "\"interval\" IN ('month', 'year') AND pending_interval IN ('month', 'year')",
            name=op.f("ck_subscriptions_interval"),
        ),
        sa.CheckConstraint(
            "status IN ('incomplete', 'incomplete_expired', 'trialing', 'active', 'past_due', 'canceled', 'unpaid',"
            " 'paused', 'unknown')",
            name=op.f("ck_subscriptions_status"),
        ),
        sa.CheckConstraint("period_start < period_end", name=op.f("ck_subscriptions_period")),
        sa.CheckConstraint(
            "num_nulls(pending_plan, pending_interval, pending_at) IN (0, 3)", name=op.f("ck_subscriptions_pending")
        ),
        sa.CheckConstraint("char_length(provider_id) <= 100", name=op.f("ck_subscriptions_provider_id_length")),
    )
    op.create_index("uq_subscriptions_live", "subscriptions", ["user_id"], unique=True, postgresql_where=sa.text(LIVE))
    op.create_index(op.f("ix_subscriptions_user_id_id"), "subscriptions", ["user_id", "id"])


def create_plan_grants() -> None:
    op.create_table(
        "plan_grants",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("plan", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("granted_by", sa.Uuid()),
        sa.Column("operator", sa.Text()),
        sa.Column("starts_at", INSTANT, nullable=False),
        sa.Column("ends_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_plan_grants")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_plan_grants_user_id_users")),
        sa.ForeignKeyConstraint(["granted_by"], ["users.id"], name=op.f("fk_plan_grants_granted_by_users")),
        sa.CheckConstraint("plan IN ('PRO', 'ENTERPRISE')", name=op.f("ck_plan_grants_plan")),
        sa.CheckConstraint("starts_at < ends_at", name=op.f("ck_plan_grants_period")),
        sa.CheckConstraint("char_length(operator) <= 100", name=op.f("ck_plan_grants_operator_length")),
        sa.CheckConstraint("char_length(reason) BETWEEN 1 AND 200", name=op.f("ck_plan_grants_reason_length")),
    )
    op.create_index(op.f("ix_plan_grants_user_id_ends_at"), "plan_grants", ["user_id", "ends_at"])


def create_usage() -> None:
    op.create_table(
        "usage_counters",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("period", sa.Date(), nullable=False),
        sa.Column("used", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("user_id", "key", "period", name=op.f("pk_usage_counters")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_usage_counters_user_id_users")),
        sa.CheckConstraint("key IN ('masters', 'studio_sessions')", name=op.f("ck_usage_counters_key")),
        sa.CheckConstraint("used >= 0", name=op.f("ck_usage_counters_used")),
    )
    op.create_table(
        "usage_uses",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("ref", sa.Uuid(), nullable=False),
        sa.Column("period", sa.Date(), nullable=False),
        sa.Column("used_at", INSTANT, nullable=False),
        sa.Column("released_at", INSTANT),
        sa.PrimaryKeyConstraint("user_id", "key", "ref", name=op.f("pk_usage_uses")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_usage_uses_user_id_users")),
        sa.CheckConstraint("key IN ('masters', 'studio_sessions')", name=op.f("ck_usage_uses_key")),
    )


def downgrade() -> None:
    for table in ("usage_uses", "usage_counters", "plan_grants", "subscriptions", "plan_prices"):
        op.drop_table(table)
