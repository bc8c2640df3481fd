"""Masters: recordings that artists register, and later offer shares of."""
