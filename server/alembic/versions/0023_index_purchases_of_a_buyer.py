"""Index purchases by their buyers, who list them.

Step: expand
"""

from collections.abc import Sequence

from alembic import op

revision: str = "0023"
down_revision: str | Sequence[str] | None = "0022"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS ix_ipo_purchases_user_id_id")  # INVALID, if a run was cut off
        op.execute("CREATE INDEX CONCURRENTLY IF NOT EXISTS ix_ipo_purchases_user_id_id ON ipo_purchases (user_id, id)")


def downgrade() -> None:
    op.execute("DROP INDEX ix_ipo_purchases_user_id_id")
