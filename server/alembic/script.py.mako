"""${message}.

Step: expand | migrate | contract

Leave one of them in the line above, and none of these (docs/runbook.md, "A migration"):
  expand    adds what new code needs, so that the code that runs doesn't notice: a nullable column, a table, an index
  migrate   copies old to new, in batches, while the code that runs writes both
  contract  drops what no code uses, neither the one that runs nor any that you might roll back to
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
${imports if imports else ""}
revision: str = ${repr(up_revision)}
down_revision: str | Sequence[str] | None = ${repr(down_revision)}
branch_labels: str | Sequence[str] | None = ${repr(branch_labels)}
depends_on: str | Sequence[str] | None = ${repr(depends_on)}


def upgrade() -> None:
    # Requests queue behind a lock that is waited for or held, and fail after 5 s. Better this does: nothing has changed
    # then, and it is tried again soon. Raise the second limit for what holds up nobody, such as a copy in batches.
    op.execute("SET LOCAL lock_timeout = '1s'")
    op.execute("SET LOCAL statement_timeout = '10s'")
    ${upgrades if upgrades else ""}


def downgrade() -> None:
    ${downgrades if downgrades else "pass"}
