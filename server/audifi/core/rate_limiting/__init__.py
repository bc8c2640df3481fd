"""Limits on how often clients and accounts may call."""
