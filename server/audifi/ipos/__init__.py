"""Offerings of a master's shares, their purchases, and their holders."""
