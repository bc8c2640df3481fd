"""Rules that an administrator switches on for launches, purchases, listings, claims and payouts; frozen accounts."""
