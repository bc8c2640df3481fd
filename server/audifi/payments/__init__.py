"""Stripe: customers, checkouts, events, deposits, refunds, disputes and payouts."""
