"""Index of offered masters by UPC, by which statements of royalties name releases.

Step: expand
"""

from collections.abc import Sequence

from alembic import op

revision: str = "0020"
down_revision: str | Sequence[str] | None = "0019"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS ix_masters_upc")  # INVALID, if a run was cut off
        op.execute(
            "CREATE INDEX CONCURRENTLY IF NOT EXISTS ix_masters_upc"
            " ON masters (upc) WHERE status = 'offered' AND upc IS NOT NULL"
        )


def downgrade() -> None:
    op.execute("DROP INDEX ix_masters_upc")
