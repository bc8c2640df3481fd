"""Find the refunds and disputes of an invoice by an index.

Step: expand
"""

from collections.abc import Sequence

from alembic import op

revision: str = "0030"
down_revision: str | Sequence[str] | None = "0029"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS ix_invoice_adjustments_invoice_id")  # INVALID, if it was cut off
        op.execute(
            "CREATE INDEX CONCURRENTLY IF NOT EXISTS ix_invoice_adjustments_invoice_id"
            " ON invoice_adjustments (invoice_id)"
        )


def downgrade() -> None:
    op.execute("DROP INDEX ix_invoice_adjustments_invoice_id")
