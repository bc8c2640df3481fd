"""`GET /` and the interactive documentation at `/docs`."""
