"""Find the listings of a seller and of a buyer by indexes.

Step: expand
"""

from collections.abc import Sequence

from alembic import op

revision: str = "0032"
down_revision: str | Sequence[str] | None = "0031"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

INDEXES = {
    "ix_listings_seller_id_id": "(seller_id, id)",
    "ix_listings_buyer_id_closed_at_id": "(buyer_id, closed_at, id) WHERE buyer_id IS NOT NULL",
}


def upgrade() -> None:
    with op.get_context().autocommit_block():
        for name, columns in INDEXES.items():
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")  # INVALID, if a run was cut off
            op.execute(f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {name} ON listings {columns}")


def downgrade() -> None:
    for name in INDEXES:
        op.execute(f"DROP INDEX {name}")
