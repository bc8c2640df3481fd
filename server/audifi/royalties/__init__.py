"""Royalties: statements of distributors, imported as files, matched with masters, and recorded as revenue."""
