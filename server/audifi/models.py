"""Every table, gathered for Alembic alone."""

from audifi.auth.models import AuthEvent, Session, SignInFlow, User
from audifi.core.db.base import Base
from audifi.core.rate_limiting.models import RateLimitCounter

__all__ = ["AuthEvent", "Base", "RateLimitCounter", "Session", "SignInFlow", "User"]
