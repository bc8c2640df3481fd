"""Background jobs, queued in PostgreSQL."""
