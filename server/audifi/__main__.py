"""`python -m audifi`."""

from audifi.cli import app

if __name__ == "__main__":
    app()
