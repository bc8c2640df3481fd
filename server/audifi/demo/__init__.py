"""`python -m audifi demo`: fills a development database with a small believable world, through the real services."""
