"""Every table, gathered for Alembic alone."""

from audifi.auth.models import AuthEvent, Session, SignInFlow, User
from audifi.core.database import Base
from audifi.core.models import RateLimitCounter

__all__ = ["AuthEvent", "Base", "RateLimitCounter", "Session", "SignInFlow", "User"]
