"""Statements of royalties, their lines, and what they add up to.

Step: expand
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0019"
down_revision: str | Sequence[str] | None = "0018"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '1s'")
    op.execute("SET LOCAL statement_timeout = '10s'")
    create_royalty_statements()
    create_royalty_lines()
    create_royalty_carries()
    create_royalty_totals()


def create_royalty_statements() -> None:
    op.create_table(
        "royalty_statements",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("of_all_artists", sa.Boolean(), nullable=False),
        sa.Column("preset", sa.Text(), nullable=False),
        sa.Column("format", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("columns", sa.Text(), nullable=True),
        sa.Column("currency", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("failure", sa.Text(), nullable=True),
        sa.Column("failure_detail", sa.Text(), nullable=True),
        sa.Column("failure_line", sa.BigInteger(), nullable=True),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column("bytes_read", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("lines", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("last_line", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("unmatched_lines", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("suspected_lines", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("deleted_to", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("lines_expire_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("imported_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("decided_by", sa.Uuid(), nullable=True),
        sa.CheckConstraint("(preset = 'mapped') = (columns IS NOT NULL)", name=op.f("ck_royalty_statements_columns")),
        sa.CheckConstraint("(status = 'failed') = (failure IS NOT NULL)", name=op.f("ck_royalty_statements_failed")),
        sa.CheckConstraint(
            "(status = 'imported') = (imported_at IS NOT NULL)", name=op.f("ck_royalty_statements_imported")
        ),
        sa.CheckConstraint("currency ~ '^[A-Z]{3}$'", name=op.f("ck_royalty_statements_currency")),
        sa.CheckConstraint(
            "failure IN ('statement.unreadable', 'statement.hash_mismatch', 'statement.too_large',"
            " 'statement.too_many_lines', 'statement.empty', 'statement.column_missing', 'statement.line_invalid',"
            " 'statement.amount_invalid', 'statement.currency_unsupported')",
            name=op.f("ck_royalty_statements_failure"),
        ),
        sa.CheckConstraint("format IN ('csv', 'tsv', 'jsonl')", name=op.f("ck_royalty_statements_format")),
        sa.CheckConstraint(
            "preset IN ('distrokid', 'tunecore', 'canonical', 'mapped')", name=op.f("ck_royalty_statements_preset")
        ),
        sa.CheckConstraint("provider ~ '^[a-z0-9_]{1,40}$'", name=op.f("ck_royalty_statements_provider")),
        sa.CheckConstraint(
            "status IN ('pending', 'parsing', 'suspected_duplicate', 'imported', 'discarded', 'failed')",
            name=op.f("ck_royalty_statements_status"),
        ),
        sa.CheckConstraint(
            "char_length(failure_detail) <= 500", name=op.f("ck_royalty_statements_failure_detail_length")
        ),
        sa.CheckConstraint("columns IS JSON OBJECT", name=op.f("ck_royalty_statements_columns_json")),
        sa.CheckConstraint(
            "lines >= 0 AND lines <= last_line AND deleted_to BETWEEN 0 AND last_line",
            name=op.f("ck_royalty_statements_lines"),
        ),
        sa.CheckConstraint("octet_length(sha256) = 32", name=op.f("ck_royalty_statements_sha256_length")),
        sa.CheckConstraint("size > 0 AND bytes_read BETWEEN 0 AND size", name=op.f("ck_royalty_statements_size")),
        sa.CheckConstraint(
            "unmatched_lines BETWEEN 0 AND lines AND suspected_lines BETWEEN 0 AND lines",
            name=op.f("ck_royalty_statements_counts"),
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_royalty_statements_user_id_users")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_royalty_statements")),
    )
    op.create_index(
        "ix_royalty_statements_ended",
        "royalty_statements",
        ["created_at"],
        unique=False,
        postgresql_where=sa.text("status IN ('pending', 'parsing', 'discarded', 'failed')"),
    )
    op.create_index(
        op.f("ix_royalty_statements_lines_expire_at"),
        "royalty_statements",
        ["lines_expire_at"],
        unique=False,
        postgresql_where=sa.text("deleted_to < last_line"),
    )
    op.create_index(
        op.f("ix_royalty_statements_user_id_created_at_id"),
        "royalty_statements",
        ["user_id", "created_at", "id"],
        unique=False,
    )
    op.create_index(
        "uq_royalty_statements_sha256",
        "royalty_statements",
        ["sha256", "user_id"],
        unique=True,
        postgresql_where=sa.text("status IN ('parsing', 'suspected_duplicate', 'imported')"),
    )


def create_royalty_lines() -> None:
    op.create_table(
        "royalty_lines",
        sa.Column("statement_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("master_id", sa.Uuid(), nullable=True),
        sa.Column("key", sa.BigInteger(), nullable=False),
        sa.Column("reporting_date", sa.Date(), nullable=False),
        sa.Column("sale_month", sa.Date(), nullable=False),
        sa.Column("store", sa.Text(), nullable=True),
        sa.Column("artist", sa.Text(), nullable=True),
        sa.Column("title", sa.Text(), nullable=True),
        sa.Column("isrc", sa.Text(), nullable=True),
        sa.Column("upc", sa.Text(), nullable=True),
        sa.Column("quantity", sa.BigInteger(), nullable=True),
        sa.Column("team_percentage", sa.Numeric(precision=7, scale=4), nullable=True),
        sa.Column("type", sa.Text(), nullable=True),
        sa.Column("territory", sa.Text(), nullable=True),
        sa.Column("amount", sa.Numeric(precision=19, scale=12), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.CheckConstraint("(status = 'matched') = (master_id IS NOT NULL)", name=op.f("ck_royalty_lines_status")),
        sa.PrimaryKeyConstraint("statement_id", "number", name=op.f("pk_royalty_lines")),
    )
    op.create_index(
        "ix_royalty_lines_key", "royalty_lines", ["key"], unique=False, postgresql_where=sa.text("status = 'matched'")
    )
    op.create_index(
        op.f("ix_royalty_lines_statement_id_status_number"),
        "royalty_lines",
        ["statement_id", "status", "number"],
        unique=False,
    )


def create_royalty_carries() -> None:
    op.create_table(
        "royalty_carries",
        sa.Column("master_id", sa.Uuid(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("amount", sa.Numeric(precision=38, scale=12), nullable=False),
        sa.ForeignKeyConstraint(["master_id"], ["masters.id"], name=op.f("fk_royalty_carries_master_id_masters")),
        sa.PrimaryKeyConstraint("master_id", "provider", "currency", name=op.f("pk_royalty_carries")),
    )


def create_royalty_totals() -> None:
    op.create_table(
        "royalty_totals",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("statement_id", sa.Uuid(), nullable=False),
        sa.Column("master_id", sa.Uuid(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("lines", sa.BigInteger(), nullable=False),
        sa.Column("amount", sa.Numeric(precision=38, scale=12), nullable=False),
        sa.Column("carried_in", sa.Numeric(precision=38, scale=12), nullable=False),
        sa.Column("recorded", sa.BigInteger(), nullable=False),
        sa.Column("carried_out", sa.Numeric(precision=38, scale=12), nullable=False),
        sa.Column("event_id", sa.Uuid(), nullable=True),
        sa.Column("period_start", sa.Date(), nullable=False),
        sa.Column("period_end", sa.Date(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("lines >= 1", name=op.f("ck_royalty_totals_lines")),
        sa.CheckConstraint("period_start <= period_end", name=op.f("ck_royalty_totals_period")),
        sa.CheckConstraint(
            "recorded >= 0 AND (recorded = 0) = (event_id IS NULL)", name=op.f("ck_royalty_totals_recorded")
        ),
        sa.ForeignKeyConstraint(["master_id"], ["masters.id"], name=op.f("fk_royalty_totals_master_id_masters")),
        sa.ForeignKeyConstraint(
            ["statement_id"], ["royalty_statements.id"], name=op.f("fk_royalty_totals_statement_id_royalty_statements")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_royalty_totals")),
        sa.UniqueConstraint("event_id", name=op.f("uq_royalty_totals_event_id")),
    )
    op.create_index(op.f("ix_royalty_totals_statement_id_id"), "royalty_totals", ["statement_id", "id"], unique=False)


def downgrade() -> None:
    for table in ("royalty_totals", "royalty_carries", "royalty_lines", "royalty_statements"):
        op.drop_table(table)
