"""Tools for development. None of this is in the image."""
