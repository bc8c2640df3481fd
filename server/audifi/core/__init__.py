"""Infrastructure that all features share; it imports no feature."""
