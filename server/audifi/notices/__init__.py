"""Notices: what happened to an account's masters, shares and money, in a list and by e-mail."""
