"""auth_events refuses TRUNCATE, too.

Step: expand
"""

from collections.abc import Sequence

from alembic import op

revision: str = "0005"
down_revision: str | Sequence[str] | None = "0004"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.execute(
        "CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON auth_events"
        " FOR EACH STATEMENT EXECUTE FUNCTION refuse_auth_event_change()"
    )


def downgrade() -> None:
    op.execute("DROP TRIGGER refuse_truncate ON auth_events")
