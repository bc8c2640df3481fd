"""HttpMiddleware, for all requests and responses, and its parts."""
