"""Find the invoices of an account by an index.

Step: expand
"""

from collections.abc import Sequence

from alembic import op

revision: str = "0029"
down_revision: str | Sequence[str] | None = "0028"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS ix_invoices_user_id")  # INVALID, if a run was cut off
        op.execute("CREATE INDEX CONCURRENTLY IF NOT EXISTS ix_invoices_user_id ON invoices (user_id, id)")


def downgrade() -> None:
    op.execute("DROP INDEX ix_invoices_user_id")
