"""Every table, gathered for Alembic alone."""

from audifi.auth.models import User
from audifi.core.database import Base

__all__ = ["Base", "User"]
