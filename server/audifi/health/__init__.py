"""GET /api/v1/health: the server's health, for Fly's proxy and the deploy workflow."""
