"""Work that outlives a request, queued in PostgreSQL."""
