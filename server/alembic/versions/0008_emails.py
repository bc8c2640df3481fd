"""E-mails that were sent, and what became of them.

Step: expand
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0008"
down_revision: str | Sequence[str] | None = "0007"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

EVENTS = "'delivered', 'deferred', 'dropped', 'bounce', 'blocked', 'spamreport'"


def upgrade() -> None:
    op.create_table(
        "email_messages",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("address_hash", sa.LargeBinary(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("accepted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.CheckConstraint("octet_length(address_hash) = 32", name=op.f("ck_email_messages_address_hash_length")),
        sa.CheckConstraint("char_length(purpose) BETWEEN 1 AND 40", name=op.f("ck_email_messages_purpose_length")),
        sa.CheckConstraint("char_length(error) <= 300", name=op.f("ck_email_messages_error_length")),
        sa.CheckConstraint("accepted_at IS NULL OR error IS NULL", name=op.f("ck_email_messages_result")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_email_messages")),
    )
    op.create_index(op.f("ix_email_messages_created_at"), "email_messages", ["created_at"])
    op.create_table(
        "email_events",
        sa.Column("message_id", sa.Uuid(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(f"event IN ({EVENTS})", name=op.f("ck_email_events_event")),
        sa.CheckConstraint("char_length(reason) <= 300", name=op.f("ck_email_events_reason_length")),
        sa.ForeignKeyConstraint(
            ["message_id"],
            ["email_messages.id"],
            name=op.f("fk_email_events_message_id_email_messages"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("message_id", "event", name=op.f("pk_email_events")),
    )


def downgrade() -> None:
    op.drop_table("email_events")
    op.drop_table("email_messages")
