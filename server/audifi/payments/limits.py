"""Limits of payments' requests."""

from datetime import timedelta

from audifi.core.rate_limiting.limits import Limit

PAGES = Limit("payment-pages", 10, per=timedelta(hours=1))
"""Checkouts, portals, onboarding and refunds of an account. Each calls Stripe."""
SYNCS = Limit("checkout-syncs", 10, per=timedelta(minutes=1))
"""What a page may ask while it waits for a payment."""
WEBHOOKS = Limit("stripe-webhooks", 6000, per=timedelta(minutes=1))
"""Events of both endpoints together. Stripe sends what is refused again, for three days."""

MIN_DEPOSIT, MAX_DEPOSIT, MAX_DEPOSITS_PER_DAY = 5, 10_000, 20_000
"""In units of a currency, not its base units."""
MAX_OPEN_DEPOSITS = 5
