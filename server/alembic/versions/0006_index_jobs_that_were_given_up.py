"""Index jobs that were given up: housekeeping looks for those whose time is over.

Step: expand
"""

from collections.abc import Sequence

from alembic import op

revision: str = "0006"
down_revision: str | Sequence[str] | None = "0005"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS ix_pgqueuer_failed_updated")  # INVALID, if a run was cut off
        op.execute(
            "CREATE INDEX CONCURRENTLY IF NOT EXISTS ix_pgqueuer_failed_updated"
            " ON pgqueuer (updated) WHERE status = 'failed'"
        )


def downgrade() -> None:
    op.execute("DROP INDEX ix_pgqueuer_failed_updated")
