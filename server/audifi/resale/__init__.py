"""Resale of shares between accounts, and the parties that share in it (Mover Advantage)."""
