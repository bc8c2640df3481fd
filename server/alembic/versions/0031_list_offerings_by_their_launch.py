"""List offerings by their launch.

Step: expand
"""

from collections.abc import Sequence

from alembic import op

revision: str = "0031"
down_revision: str | Sequence[str] | None = "0030"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS ix_ipos_status_launched_at_id")  # INVALID, if it was cut off
        op.execute(
            "CREATE INDEX CONCURRENTLY IF NOT EXISTS ix_ipos_status_launched_at_id ON ipos (status, launched_at, id)"
            " WHERE launched_at IS NOT NULL"
        )


def downgrade() -> None:
    op.execute("DROP INDEX ix_ipos_status_launched_at_id")
