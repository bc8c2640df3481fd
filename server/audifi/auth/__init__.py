"""Sign-in, sessions and accounts."""
