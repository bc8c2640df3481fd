"""Safe migrations: making one, and the checks that each must pass (docs/decisions/0013)."""

from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
ALEMBIC = Path("server/alembic")
VERSIONS = ALEMBIC / "versions"
