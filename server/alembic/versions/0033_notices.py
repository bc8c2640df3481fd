"""Write down what happened to an account's masters, shares and money.

Step: expand
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0033"
down_revision: str | Sequence[str] | None = "0032"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

PUBLISH_REVIEW = """
CREATE FUNCTION master_publish_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO domain_events (kind, subject_id, payload, at)
        VALUES ('master.' || NEW.event, NEW.master_id, jsonb_build_object('event_id', NEW.id), NEW.created_at);
    RETURN NULL;
END
$$
"""

PUBLISH_PAYOUT = """
CREATE FUNCTION payout_publish_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO domain_events (kind, subject_id, payload, at)
        VALUES ('payout.' || NEW.status, NEW.id, jsonb_build_object('currency', NEW.currency, 'amount', NEW.amount),
            NEW.ended_at);
    RETURN NULL;
END
$$
"""


def upgrade() -> None:
    op.create_table(
        "notices",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("master_id", sa.Uuid(), nullable=True),
        sa.Column("title", sa.Text(), nullable=True),
        sa.Column("quantity", sa.BigInteger(), nullable=True),
        sa.Column("amount", sa.BigInteger(), nullable=True),
        sa.Column("currency", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "kind IN ('master_approved', 'master_rejected', 'shares_bought', 'shares_sold', 'shares_refunded',"
            " 'offering_completed', 'offering_canceled', 'payout_paid', 'payout_failed')",
            name=op.f("ck_notices_kind"),
        ),
        sa.CheckConstraint("char_length(title) <= 200", name=op.f("ck_notices_title_length")),
        sa.CheckConstraint("char_length(reason) <= 500", name=op.f("ck_notices_reason_length")),
        sa.CheckConstraint("(amount IS NULL) = (currency IS NULL)", name=op.f("ck_notices_currency")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_notices_user_id_users")),
        sa.ForeignKeyConstraint(["currency"], ["ledger_assets.code"], name=op.f("fk_notices_currency_ledger_assets")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notices")),
    )
    op.create_index(op.f("ix_notices_user_id_created_at_id"), "notices", ["user_id", "created_at", "id"])
    op.create_index(op.f("ix_notices_created_at"), "notices", ["created_at"])
    op.create_table(
        "domain_event_readers",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("xid", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_domain_event_readers")),
    )
    op.execute("""
        INSERT INTO domain_event_readers (name, xid, id)
            SELECT 'notices', coalesce(max(xid), 0), coalesce(max(id), 0) FROM domain_events
    """)
    op.execute(PUBLISH_REVIEW)
    op.execute(PUBLISH_PAYOUT)
    op.execute("SET LOCAL lock_timeout = '1s'")
    op.execute("SET LOCAL statement_timeout = '10s'")
    op.execute("""
        CREATE TRIGGER publish AFTER INSERT ON master_events FOR EACH ROW
            WHEN (NEW.event IN ('approved', 'rejected')) EXECUTE FUNCTION master_publish_event()
    """)
    op.execute("""
        CREATE TRIGGER publish AFTER UPDATE OF status ON payouts FOR EACH ROW
            WHEN (NEW.status IN ('paid', 'failed') AND NEW.status <> OLD.status)
            EXECUTE FUNCTION payout_publish_event()
    """)


def downgrade() -> None:
    op.execute("DROP TRIGGER publish ON payouts")
    op.execute("DROP TRIGGER publish ON master_events")
    op.execute("DROP FUNCTION payout_publish_event")
    op.execute("DROP FUNCTION master_publish_event")
    op.drop_table("domain_event_readers")
    op.drop_table("notices")
