"""The settings of `make run`, which the operators' commands share."""

import os
import secrets
from pathlib import Path

ROOT = Path(__file__).parent.parent
DATA = ROOT / ".data"


def set_defaults() -> None:
    """Set the defaults of all settings except DATABASE_URL."""
    os.environ.setdefault("ENVIRONMENT", "development")
    os.environ.setdefault("HOST", "localhost")
    os.environ.setdefault("FUNDING", "development" if os.environ["ENVIRONMENT"] == "development" else "operator")
    os.environ.setdefault("APP_URL", "http://localhost:3000")
    os.environ.setdefault("MAIL_FOLDER", str(DATA / "mail"))
    os.environ.setdefault("RATE_LIMIT_FACTOR", "100")  # a suite of end-to-end tests is one client
    for name in ("JWT_SECRET", "MAGIC_LINK_SECRET"):
        os.environ.setdefault(name, secret(name))


def secret(name: str) -> str:
    """Return this checkout's secret, made once, so that sessions survive a restart of the server."""
    file = DATA / "secrets" / name
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        file.write_text(secrets.token_urlsafe(48))
    return file.read_text()
