"""What features share. Knows no feature."""
