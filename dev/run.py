"""`make run`: the API on this machine, with a PostgreSQL 16 of its own unless DATABASE_URL is set."""

import os
import signal

# The imports take a while, and may swallow an exception; there is nothing to clear up yet.
signal.signal(signal.SIGINT, lambda *_: os._exit(130))

import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from audifi import serve
from audifi.app import create_app
from audifi.core.config.settings import Settings, SettingsError, load
from audifi.core.telemetry import logging as logs
from audifi.services import build_services
from dev import postgres

ROOT = Path(__file__).parent.parent
DATA = ROOT / ".data"


def stop(*_: object) -> None:
    """Ctrl-C, once."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(130)


def main() -> None:
    signal.signal(signal.SIGINT, stop)
    set_defaults()
    os.environ.setdefault("MIGRATION_WAKE_TIMEOUT_SECONDS", "0.001")  # nobody is waking it up: say so at once
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))  # the terminal was closed
    try:
        with database() as own:
            settings = load(Settings)
            listener = serve.listen(settings.host, settings.port)
            migrate()
            logs.configure()
            print_addresses(settings, os.environ["DATABASE_URL"] if own else settings.database_url.location)
            app = create_app(build_services(settings))
            serve.show_metrics(app, settings)
            serve.serve(app, settings, listener)
    except (SettingsError, postgres.PostgresError) as error:
        sys.exit(f"make run: {error}")


def set_defaults() -> None:
    """Of all settings but DATABASE_URL."""
    os.environ.setdefault("ENVIRONMENT", "development")
    os.environ.setdefault("HOST", "127.0.0.1")
    os.environ.setdefault("APP_URL", "http://localhost:3000")
    os.environ.setdefault("MAIL_FOLDER", str(DATA / "mail"))
    for name in ("JWT_SECRET", "MAGIC_LINK_SECRET"):
        os.environ.setdefault(name, secret(name))


@contextmanager
def database() -> Iterator[bool]:
    """A database in DATABASE_URL for as long as the block runs; yields whether it is our own."""
    if os.environ.get("DATABASE_URL"):
        yield False
        return
    folder = DATA / "postgres"
    if not (folder / "PG_VERSION").exists():
        print("Making a PostgreSQL 16 database in .data/postgres …", flush=True)
    with postgres.running(folder) as server:
        os.environ["DATABASE_URL"] = server.url()
        yield True


def secret(name: str) -> str:
    """One of this checkout's own, kept, so that who is signed in stays so when the server starts again."""
    file = DATA / "secrets" / name
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        file.write_text(secrets.token_urlsafe(48))
    return file.read_text()


def migrate() -> None:
    """What Fly's release command does."""
    print("Migrating …", flush=True)
    # In a session of its own, so that a terminal's Ctrl-C comes here alone, and ends it without a word.
    done = subprocess.run(["alembic", "upgrade", "head"], cwd=ROOT / "server", start_new_session=True, check=False)  # noqa: S607
    if done.returncode:
        sys.exit(done.returncode)  # it has said why


def print_addresses(settings: Settings, database: str) -> None:
    address = f"http://{settings.host}:{settings.port}"
    mails = (
        "are sent by SendGrid" if settings.sendgrid_api_key else f"are printed here, and kept in {settings.mail_folder}"
    )
    print(
        f"\n  Health    {address}/api/v1/health"
        f"\n  Docs      {address}/docs"
        f"\n  Mails     {mails}"
        f"\n  Database  {database}"
        "\n\n  Ctrl-C stops it.\n",
        flush=True,
    )


if __name__ == "__main__":
    main()
