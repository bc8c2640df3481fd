"""Starts a feature: `make feature name=playlists`."""
