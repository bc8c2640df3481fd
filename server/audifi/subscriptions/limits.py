"""Rate limits of subscriptions. Each request calls Stripe."""

from datetime import timedelta

from audifi.core.rate_limiting.limits import Limit

CHANGE_LIMIT = Limit("subscription-changes", 10, per=timedelta(hours=1))
PREVIEW_LIMIT = Limit("subscription-previews", 60, per=timedelta(hours=1))
