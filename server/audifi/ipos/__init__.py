"""Offerings of a master's shares, their purchases, and who holds them."""
