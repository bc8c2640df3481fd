"""Masters: recordings with their tracks and collaborators, confirmations of rights, events, uploads.

Step: expand
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision: str = "0011"
down_revision: str | Sequence[str] | None = "0010"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

# The rows of a deleted master go with it: the cascade runs when the master's row is gone.
REFUSE_CHANGES = """
CREATE FUNCTION refuse_master_record_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' AND NOT EXISTS (SELECT FROM masters WHERE id = OLD.master_id) THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END
$$
"""
APPEND_ONLY = ("rights_confirmations", "master_events")


def upgrade() -> None:
    create_masters()
    create_master_tracks()
    create_master_collaborators()
    create_rights_confirmations()
    create_master_events()
    create_master_uploads()
    op.execute(REFUSE_CHANGES)
    for table in APPEND_ONLY:
        op.execute(
            f"CREATE TRIGGER refuse_change BEFORE UPDATE OR DELETE ON {table}"
            " FOR EACH ROW EXECUTE FUNCTION refuse_master_record_change()"
        )
        op.execute(
            f"CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON {table}"
            " FOR EACH STATEMENT EXECUTE FUNCTION refuse_master_record_change()"
        )


def create_masters() -> None:
    op.create_table(
        "masters",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("artist_id", sa.Uuid(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("genre", sa.Text(), nullable=False),
        sa.Column("bpm", sa.BigInteger()),
        sa.Column("duration_seconds", sa.BigInteger()),
        sa.Column("release_date", sa.Date(), nullable=False),
        sa.Column("mood_tags", ARRAY(sa.Text()), nullable=False),
        sa.Column("upc", sa.Text()),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("rejection_reason", sa.Text()),
        sa.Column("suspended_at", sa.DateTime(timezone=True)),
        sa.Column("rights_confirmed_at", sa.DateTime(timezone=True)),
        sa.Column("audio_sha256", sa.LargeBinary()),
        sa.Column("cover_sha256", sa.LargeBinary()),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("(status = 'rejected') = (rejection_reason IS NOT NULL)", name=op.f("ck_masters_rejected")),
        sa.CheckConstraint(
            "status IN ('draft', 'submitted', 'rejected', 'approved', 'offered', 'archived')",
            name=op.f("ck_masters_status"),
        ),
        sa.CheckConstraint(
            "status NOT IN ('submitted', 'approved', 'offered')"
            " OR (rights_confirmed_at IS NOT NULL AND audio_sha256 IS NOT NULL AND cover_sha256 IS NOT NULL)",
            name=op.f("ck_masters_complete"),
        ),
        sa.CheckConstraint("type IN ('track', 'album')", name=op.f("ck_masters_type")),
        sa.CheckConstraint("upc ~ '^[0-9]{13}$'", name=op.f("ck_masters_upc")),
        sa.CheckConstraint("bpm BETWEEN 1 AND 300", name=op.f("ck_masters_bpm")),
        sa.CheckConstraint("cardinality(mood_tags) <= 20", name=op.f("ck_masters_mood_tags")),
        sa.CheckConstraint("char_length(description) BETWEEN 1 AND 5000", name=op.f("ck_masters_description_length")),
        sa.CheckConstraint("char_length(genre) BETWEEN 1 AND 100", name=op.f("ck_masters_genre_length")),
        sa.CheckConstraint(
            "char_length(rejection_reason) BETWEEN 1 AND 500", name=op.f("ck_masters_rejection_reason_length")
        ),
        sa.CheckConstraint("char_length(title) BETWEEN 1 AND 200", name=op.f("ck_masters_title_length")),
        sa.CheckConstraint("duration_seconds > 0", name=op.f("ck_masters_duration")),
        sa.CheckConstraint(
            "octet_length(audio_sha256) = 32 AND octet_length(cover_sha256) = 32", name=op.f("ck_masters_sha256_length")
        ),
        sa.ForeignKeyConstraint(["artist_id"], ["users.id"], name=op.f("fk_masters_artist_id_users")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_masters")),
    )
    op.create_index("ix_masters_artist_id_created_at_id", "masters", ["artist_id", "created_at", "id"])


def create_master_tracks() -> None:
    op.create_table(
        "master_tracks",
        sa.Column("master_id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("isrc", sa.Text()),
        sa.Column("iswc", sa.Text()),
        sa.Column("offered", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.CheckConstraint("isrc ~ '^[A-Z]{2}[A-Z0-9]{3}[0-9]{7}$'", name=op.f("ck_master_tracks_isrc")),
        sa.CheckConstraint("iswc ~ '^T[0-9]{10}$'", name=op.f("ck_master_tracks_iswc")),
        sa.CheckConstraint("char_length(title) BETWEEN 1 AND 200", name=op.f("ck_master_tracks_title_length")),
        sa.CheckConstraint("position BETWEEN 1 AND 100", name=op.f("ck_master_tracks_position")),
        sa.ForeignKeyConstraint(
            ["master_id"], ["masters.id"], name=op.f("fk_master_tracks_master_id_masters"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("master_id", "position", name=op.f("pk_master_tracks")),
    )
    op.create_index(
        "uq_master_tracks_isrc", "master_tracks", ["isrc"], unique=True, postgresql_where=sa.text("offered")
    )


def create_master_collaborators() -> None:
    op.create_table(
        "master_collaborators",
        sa.Column("master_id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("user_id", sa.Uuid()),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("split_bps", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("char_length(name) BETWEEN 1 AND 200", name=op.f("ck_master_collaborators_name_length")),
        sa.CheckConstraint("char_length(role) BETWEEN 1 AND 100", name=op.f("ck_master_collaborators_role_length")),
        sa.CheckConstraint("position BETWEEN 1 AND 20", name=op.f("ck_master_collaborators_position")),
        sa.CheckConstraint("split_bps BETWEEN 0 AND 10000", name=op.f("ck_master_collaborators_split_bps")),
        sa.ForeignKeyConstraint(
            ["master_id"], ["masters.id"], name=op.f("fk_master_collaborators_master_id_masters"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_master_collaborators_user_id_users")),
        sa.PrimaryKeyConstraint("master_id", "position", name=op.f("pk_master_collaborators")),
    )


def create_rights_confirmations() -> None:
    op.create_table(
        "rights_confirmations",
        sa.Column("master_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("statement_version", sa.Text(), nullable=False),
        sa.Column("statement_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("ip_prefix", sa.Text()),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("holder IN ('owner', 'licensee')", name=op.f("ck_rights_confirmations_holder")),
        sa.CheckConstraint(
            "octet_length(statement_sha256) = 32", name=op.f("ck_rights_confirmations_statement_sha256_length")
        ),
        sa.ForeignKeyConstraint(
            ["master_id"], ["masters.id"], name=op.f("fk_rights_confirmations_master_id_masters"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("master_id", "id", name=op.f("pk_rights_confirmations")),
    )


def create_master_events() -> None:
    op.create_table(
        "master_events",
        sa.Column("master_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Uuid()),
        sa.Column("actor", sa.Text()),
        sa.Column("detail", sa.Text()),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "event IN ('submitted', 'approved', 'rejected', 'offered', 'suspended', 'restored', 'archived')",
            name=op.f("ck_master_events_event"),
        ),
        sa.CheckConstraint("char_length(actor) <= 100", name=op.f("ck_master_events_actor_length")),
        sa.CheckConstraint("char_length(detail) <= 500", name=op.f("ck_master_events_detail_length")),
        sa.ForeignKeyConstraint(
            ["master_id"], ["masters.id"], name=op.f("fk_master_events_master_id_masters"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("master_id", "id", name=op.f("pk_master_events")),
    )


def create_master_uploads() -> None:
    op.create_table(
        "master_uploads",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("master_id", sa.Uuid()),
        sa.Column("artist_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("failure", sa.Text()),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column("content_type", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("(status = 'failed') = (failure IS NOT NULL)", name=op.f("ck_master_uploads_failed")),
        sa.CheckConstraint(
            "failure IN ('upload.hash_mismatch', 'upload.type_mismatch', 'upload.too_large', 'upload.unreadable',"
            " 'upload.wrong_dimensions',"
            " 'master.frozen')",
            name=op.f("ck_master_uploads_failure"),
        ),
        sa.CheckConstraint("kind IN ('audio', 'cover')", name=op.f("ck_master_uploads_kind")),
        sa.CheckConstraint(
            "status IN ('pending', 'verifying', 'verified', 'failed', 'replaced')",
            name=op.f("ck_master_uploads_status"),
        ),
        sa.CheckConstraint(
            "status NOT IN ('pending', 'verifying', 'verified') OR master_id IS NOT NULL",
            name=op.f("ck_master_uploads_master"),
        ),
        sa.CheckConstraint("char_length(content_type) <= 100", name=op.f("ck_master_uploads_content_type_length")),
        sa.CheckConstraint("octet_length(sha256) = 32", name=op.f("ck_master_uploads_sha256_length")),
        sa.CheckConstraint("size > 0", name=op.f("ck_master_uploads_size")),
        sa.ForeignKeyConstraint(["artist_id"], ["users.id"], name=op.f("fk_master_uploads_artist_id_users")),
        sa.ForeignKeyConstraint(["master_id"], ["masters.id"], name=op.f("fk_master_uploads_master_id_masters")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_master_uploads")),
    )
    op.create_index(
        "ix_master_uploads_artist_id",
        "master_uploads",
        ["artist_id"],
        postgresql_where=sa.text("status IN ('pending', 'verifying')"),
    )
    op.create_index(
        "ix_master_uploads_created_at",
        "master_uploads",
        ["created_at"],
        postgresql_where=sa.text("status <> 'verified'"),
    )
    op.create_index(op.f("ix_master_uploads_master_id"), "master_uploads", ["master_id"])
    op.create_index(op.f("ix_master_uploads_sha256"), "master_uploads", ["sha256"])
    op.create_index(
        "uq_master_uploads_master_id_kind",
        "master_uploads",
        ["master_id", "kind"],
        unique=True,
        postgresql_where=sa.text("status = 'verified'"),
    )


def downgrade() -> None:
    for table in ("master_uploads", *reversed(APPEND_ONLY), "master_collaborators", "master_tracks", "masters"):
        op.drop_table(table)
    op.execute("DROP FUNCTION refuse_master_record_change()")
