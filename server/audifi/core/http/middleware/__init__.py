"""HttpMiddleware, which handles what all requests have in common, and its parts."""
