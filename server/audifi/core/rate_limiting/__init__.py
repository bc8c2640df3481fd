"""Rate limits: exact ones counted in PostgreSQL, and approximate ones counted in memory."""
