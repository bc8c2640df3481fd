"""Find the disputes of a deposit by an index.

Step: expand
"""

from collections.abc import Sequence

from alembic import op

revision: str = "0026"
down_revision: str | Sequence[str] | None = "0025"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS ix_deposit_disputes_deposit_id")  # INVALID, if a run was cut off
        op.execute(
            "CREATE INDEX CONCURRENTLY IF NOT EXISTS ix_deposit_disputes_deposit_id ON deposit_disputes (deposit_id)"
        )


def downgrade() -> None:
    op.execute("DROP INDEX ix_deposit_disputes_deposit_id")
