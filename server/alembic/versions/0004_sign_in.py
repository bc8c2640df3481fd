"""Sign-in: flows, sessions, what happened to an account.

Step: expand
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, INET

revision: str = "0004"
down_revision: str | Sequence[str] | None = "0003"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


INSTANT = sa.DateTime(timezone=True)

REFUSE_CHANGES = """
CREATE FUNCTION refuse_auth_event_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' AND OLD.created_at < now() - interval '365 days' THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'auth_events is append-only' USING ERRCODE = 'restrict_violation';
END
$$
"""

EVENTS = """
    'user.created', 'user.updated', 'user.deleted', 'user.role_changed', 'user.suspended', 'user.restored',
    'session.created', 'session.revoked', 'sign_in.refused', 'code.exhausted', 'refresh_token.reused'
"""
REASONS = "'signed_out', 'replaced', 'too_many', 'reused', 'suspended', 'account_deleted', 'signed_out_by_operator'"


def upgrade() -> None:
    add_to_users()
    create_sign_in_flows()
    create_sessions()
    create_auth_events()


def add_to_users() -> None:
    # Nobody can have an account yet, so there is no row for the new constraints to be checked against.
    op.add_column("users", sa.Column("display_name", sa.Text()))
    op.add_column("users", sa.Column("role", sa.Text(), server_default=sa.text("'fan'"), nullable=False))
    op.add_column("users", sa.Column("disabled_at", INSTANT))
    op.add_column("users", sa.Column("deleted_at", INSTANT))
    for name, condition in {
        "display_name_length": "char_length(display_name) BETWEEN 1 AND 80",
        "role": "role IN ('fan', 'artist', 'producer', 'admin')",
    }.items():
        add = f"ALTER TABLE users ADD CONSTRAINT ck_users_{name} CHECK ({condition})"
        op.execute(f"-- squawk-ignore constraint-missing-not-valid\n{add}")


def create_sign_in_flows() -> None:
    op.create_table(
        "sign_in_flows",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("email_key", sa.Text(), nullable=False),
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("code_hash", sa.LargeBinary(), nullable=False),
        sa.Column("flow_hash", sa.LargeBinary(), nullable=False),
        sa.Column("code_attempts", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("delivery", sa.Text(), nullable=False),
        sa.Column("redirect_to", sa.Text()),
        sa.Column("ip", INET()),
        sa.Column("user_agent", sa.Text()),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("expires_at", INSTANT, nullable=False),
        sa.Column("consumed_at", INSTANT),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sign_in_flows")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_sign_in_flows_token_hash")),
        sa.CheckConstraint("code_attempts BETWEEN 0 AND 5", name=op.f("ck_sign_in_flows_code_attempts")),
        sa.CheckConstraint(
            "char_length(email) <= 254 AND char_length(email_key) <= 254", name=op.f("ck_sign_in_flows_email_length")
        ),
        sa.CheckConstraint("char_length(redirect_to) <= 2048", name=op.f("ck_sign_in_flows_redirect_to_length")),
        sa.CheckConstraint("char_length(user_agent) <= 256", name=op.f("ck_sign_in_flows_user_agent_length")),
        sa.CheckConstraint("delivery IN ('cookie', 'body')", name=op.f("ck_sign_in_flows_delivery")),
    )
    op.create_index(op.f("ix_sign_in_flows_email_key_created_at"), "sign_in_flows", ["email_key", "created_at"])
    op.create_index(op.f("ix_sign_in_flows_expires_at"), "sign_in_flows", ["expires_at"])


def create_sessions() -> None:
    op.create_table(
        "sessions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("refresh_nonce", sa.LargeBinary(), nullable=False),
        sa.Column("generation", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("rotated_at", INSTANT, nullable=False),
        sa.Column("auth_time", INSTANT, nullable=False),
        sa.Column("amr", ARRAY(sa.Text()), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("last_used_at", INSTANT, nullable=False),
        sa.Column("idle_expires_at", INSTANT, nullable=False),
        sa.Column("absolute_expires_at", INSTANT, nullable=False),
        sa.Column("revoked_at", INSTANT),
        sa.Column("revoked_reason", sa.Text()),
        sa.Column("ip", INET()),
        sa.Column("user_agent", sa.Text()),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sessions")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_sessions_user_id_users")),
        sa.CheckConstraint("generation >= 0", name=op.f("ck_sessions_generation")),
        sa.CheckConstraint("idle_expires_at <= absolute_expires_at", name=op.f("ck_sessions_expires_at")),
        sa.CheckConstraint("(revoked_at IS NULL) = (revoked_reason IS NULL)", name=op.f("ck_sessions_revoked")),
        sa.CheckConstraint(f"revoked_reason IN ({REASONS})", name=op.f("ck_sessions_revoked_reason")),
        sa.CheckConstraint("char_length(user_agent) <= 256", name=op.f("ck_sessions_user_agent_length")),
    )
    op.create_index("ix_sessions_user_id", "sessions", ["user_id"], postgresql_where=sa.text("revoked_at IS NULL"))
    op.create_index(
        "ix_sessions_revoked_at", "sessions", ["revoked_at"], postgresql_where=sa.text("revoked_at IS NOT NULL")
    )
    op.create_index(op.f("ix_sessions_idle_expires_at"), "sessions", ["idle_expires_at"])


def create_auth_events() -> None:
    op.create_table(
        "auth_events",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("session_id", sa.Uuid()),
        sa.Column("actor", sa.Text()),
        sa.Column("detail", sa.Text()),
        sa.Column("ip", INET()),
        sa.Column("user_agent", sa.Text()),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_auth_events")),
        sa.CheckConstraint(f"event IN ({EVENTS})", name=op.f("ck_auth_events_event")),
        sa.CheckConstraint("char_length(detail) <= 500", name=op.f("ck_auth_events_detail_length")),
        sa.CheckConstraint("char_length(actor) <= 100", name=op.f("ck_auth_events_actor_length")),
        sa.CheckConstraint("char_length(user_agent) <= 256", name=op.f("ck_auth_events_user_agent_length")),
    )
    op.create_index(op.f("ix_auth_events_user_id_id"), "auth_events", ["user_id", "id"])
    op.create_index(op.f("ix_auth_events_created_at"), "auth_events", ["created_at"])
    op.execute(REFUSE_CHANGES)
    op.execute(
        "CREATE TRIGGER refuse_change BEFORE UPDATE OR DELETE ON auth_events"
        " FOR EACH ROW EXECUTE FUNCTION refuse_auth_event_change()"
    )


def downgrade() -> None:
    op.drop_table("auth_events")
    op.execute("DROP FUNCTION refuse_auth_event_change()")
    op.drop_table("sessions")
    op.drop_table("sign_in_flows")
    for column in ("display_name", "role", "disabled_at", "deleted_at"):
        op.drop_column("users", column)
