"""Money in and out: deposits, their disputes, and payouts."""
