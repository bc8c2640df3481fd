"""Rate limits of routes that move money."""

from datetime import timedelta

from audifi.core.rate_limiting.limits import Limit

MONEY = Limit("money", 30, per=timedelta(minutes=1))
"""Per account. All routes that move money or shares share it."""
