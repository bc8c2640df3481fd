"""Rate limits of revenue."""

from datetime import timedelta

from audifi.core.rate_limiting.limits import Limit

REVENUE = Limit("revenue", 500, per=timedelta(days=1))
"""Per account: each event is a row that is kept."""
