"""Domain events, and triggers that record those of offerings and shares.

Step: expand
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision: str = "0016"
down_revision: str | Sequence[str] | None = "0015"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

PUBLISH_EVENT = """
CREATE FUNCTION ipo_publish_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO domain_events (kind, subject_id, payload, at)
        SELECT 'ipo.' || NEW.event, i.id, jsonb_build_object('master_id', i.master_id, 'total_shares', i.total_shares,
            'terms_sha256', encode(i.terms_sha256, 'hex')), NEW.created_at
        FROM ipos AS i WHERE i.id = NEW.ipo_id;
    RETURN NULL;
END
$$
"""

# In the payload, a serial is a number within its offering again: 2^20 numbers belong to each. Shares that buyers gave
# back were minted when they were sold: at the end of the offering they only move.
PUBLISH_MOVEMENTS = """
CREATE FUNCTION ipo_publish_movements() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO domain_events (kind, subject_id, payload, at)
        SELECT
            CASE
                WHEN m.reason = 'sale' THEN 'share.minted'
                WHEN m.reason = 'mint'
                    AND lower(m.serials) % 1048576 > (SELECT i.sold FROM ipos AS i WHERE i.id = m.ipo_id)
                    THEN 'share.minted'
                ELSE 'share.moved'
            END,
            m.ipo_id,
            jsonb_build_object('movement_id', m.id, 'transfer_id', m.transfer_id, 'reason', m.reason, 'price', m.price,
                'from_account', m.from_id, 'to_account', m.to_id, 'first_serial', lower(m.serials) % 1048576,
                'last_serial', (upper(m.serials) - 1) % 1048576),
            m.at
        FROM inserted AS m ORDER BY m.serials;
    RETURN NULL;
END
$$
"""


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '1s'")
    op.execute("SET LOCAL statement_timeout = '10s'")
    op.create_table(
        "domain_events",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("xid", sa.BigInteger(), server_default=sa.text("pg_current_xact_id()::text::bigint"), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject_id", sa.Uuid(), nullable=False),
        sa.Column("payload", JSONB(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("kind ~ '^[a-z_]{1,30}[.][a-z_]{1,30}$'", name=op.f("ck_domain_events_kind")),
        sa.CheckConstraint("jsonb_typeof(payload) = 'object'", name=op.f("ck_domain_events_payload")),
        sa.CheckConstraint("octet_length(payload::text) <= 4000", name=op.f("ck_domain_events_payload_length")),
        sa.PrimaryKeyConstraint("xid", "id", name=op.f("pk_domain_events")),
        sa.UniqueConstraint("id", name=op.f("uq_domain_events_id")),
    )
    op.create_index(op.f("ix_domain_events_at"), "domain_events", ["at"])
    op.execute(PUBLISH_EVENT)
    op.execute(PUBLISH_MOVEMENTS)
    op.execute("""
        CREATE TRIGGER publish AFTER INSERT ON ipo_events FOR EACH ROW EXECUTE FUNCTION ipo_publish_event()
    """)
    op.execute("""
        CREATE TRIGGER publish AFTER INSERT ON share_movements REFERENCING NEW TABLE AS inserted
            FOR EACH STATEMENT EXECUTE FUNCTION ipo_publish_movements()
    """)
    op.execute("ALTER TABLE ipos VALIDATE CONSTRAINT ck_ipos_countries_blocked")


def downgrade() -> None:
    op.execute("DROP TRIGGER publish ON share_movements")
    op.execute("DROP TRIGGER publish ON ipo_events")
    op.execute("DROP FUNCTION ipo_publish_movements")
    op.execute("DROP FUNCTION ipo_publish_event")
    op.drop_table("domain_events")
