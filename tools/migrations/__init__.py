"""Migrations that can't hurt: how one is made, and what it is held to (docs/decisions/0013)."""

from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
ALEMBIC = Path("server/alembic")
VERSIONS = ALEMBIC / "versions"
