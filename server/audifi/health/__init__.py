"""GET /api/v1/health: Fly's proxy, the deploy and people ask it whether this process can serve."""
