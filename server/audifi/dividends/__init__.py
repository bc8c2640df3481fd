"""Dividends: revenue of masters, its distribution among the holders of shares, and their claims."""
