"""Checks docs/style.md, as far as a program can."""
