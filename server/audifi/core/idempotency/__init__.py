"""`Idempotency-Key`: a POST that moves value has its effect once, however often it is sent."""
