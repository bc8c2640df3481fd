"""Expired rate limit counters."""

from datetime import datetime

from audifi.core.db.retention import ExpiredRows
from audifi.core.rate_limiting.models import RateLimitCounter


def expired_counters(now: datetime) -> list[ExpiredRows]:
    """Return counters whose window has ended."""
    return [ExpiredRows(table=RateLimitCounter.__table__, by=RateLimitCounter.expires_at, before=now)]
