"""GET /api/v1/health: whether this process can serve. Fly's proxy and the deploy workflow call it."""
