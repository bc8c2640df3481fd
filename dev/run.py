"""`make run`: serves the API on this machine, with an embedded PostgreSQL 16 unless DATABASE_URL is set."""

import os
import signal

# The imports take a while and may swallow an exception; nothing needs cleaning up yet.
signal.signal(signal.SIGINT, lambda *_: os._exit(130))

import asyncio
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg

from audifi import serve
from audifi.app import create_app
from audifi.core.config.settings import Settings, SettingsError, load
from audifi.core.db.connection import connect
from audifi.core.telemetry import logging as logs
from audifi.services import build_services
from dev import postgres

ROOT = Path(__file__).parent.parent
DATA = ROOT / ".data"


def stop(*_: object) -> None:
    """Exit at the first Ctrl-C; ignore the others."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(130)


def main() -> None:
    signal.signal(signal.SIGINT, stop)
    set_defaults()
    os.environ.setdefault("MIGRATION_WAKE_TIMEOUT_SECONDS", "0.001")  # nothing wakes this database: report at once
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))  # the terminal closed
    try:
        with database() as is_embedded:
            settings = load(Settings)
            listener = serve.listen(settings.host, settings.port)
            migrate(settings)
            logs.configure()
            print_addresses(settings, os.environ["DATABASE_URL"] if is_embedded else settings.database_url.location)
            app = create_app(build_services(settings))
            serve.show_metrics(app, settings)
            serve.serve(app, settings, listener)
    except (SettingsError, postgres.PostgresError) as error:
        sys.exit(f"make run: {error}")


def set_defaults() -> None:
    """Set the defaults of all settings except DATABASE_URL."""
    os.environ.setdefault("ENVIRONMENT", "development")
    os.environ.setdefault("HOST", "127.0.0.1")
    os.environ.setdefault("APP_URL", "http://localhost:3000")
    os.environ.setdefault("MAIL_FOLDER", str(DATA / "mail"))
    for name in ("JWT_SECRET", "MAGIC_LINK_SECRET"):
        os.environ.setdefault(name, secret(name))


@contextmanager
def database() -> Iterator[bool]:
    """Keep a database in DATABASE_URL while the block runs; yield whether it is the embedded one."""
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
    """Return this checkout's secret, made once, so that sessions survive a restart of the server."""
    file = DATA / "secrets" / name
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        file.write_text(secrets.token_urlsafe(48))
    return file.read_text()


def migrate(settings: Settings) -> None:
    """Run Fly's release command, unless the database has the newest migration."""
    if asyncio.run(read_revision(settings)) == newest_revision():
        return
    print("Migrating …", flush=True)
    # In its own session: Ctrl-C in a terminal reaches only this process, which ends Alembic without a message.
    process = subprocess.run(["alembic", "upgrade", "head"], cwd=ROOT / "server", start_new_session=True, check=False)  # noqa: S607
    if process.returncode:
        sys.exit(process.returncode)  # Alembic has printed the reason


async def read_revision(settings: Settings) -> str | None:
    """Return the database's revision; None if it has none or can't be read, which Alembic reports better."""
    try:
        connection = await connect(settings)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return None
    try:
        revision: str | None = await connection.fetchval("SELECT version_num FROM alembic_version")
    except asyncpg.PostgresError:
        return None
    finally:
        connection.terminate()
    return revision


def newest_revision() -> str:
    """Return the number that the last file of alembic/versions starts with."""
    return max(path.name for path in (ROOT / "server" / "alembic" / "versions").glob("[0-9]*.py")).partition("_")[0]


def print_addresses(settings: Settings, database: str) -> None:
    address = f"http://{settings.host}:{settings.port}"
    emails = (
        "are sent by SendGrid" if settings.sendgrid_api_key else f"are printed here and kept in {settings.mail_folder}"
    )
    print(
        f"\n  Health    {address}/api/v1/health"
        f"\n  Docs      {address}/docs"
        f"\n  Emails    {emails}"
        f"\n  Database  {database}"
        "\n\n  Ctrl-C stops it.\n",
        flush=True,
    )


if __name__ == "__main__":
    main()
