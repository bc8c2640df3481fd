"""The server of `make run`: a child process of `dev.run`, which sends its settings on its standard input."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading

import asyncpg

from audifi import serve
from audifi.app import create_app
from audifi.core.config.settings import Settings, SettingsError, load
from audifi.core.db.connection import connect
from audifi.core.telemetry import logging as logs
from audifi.services import build_services
from dev.defaults import ROOT


def main() -> None:
    variables: dict[str, str] = json.loads(sys.stdin.readline() or sys.exit(1))
    threading.Thread(target=end_with_parent, daemon=True).start()
    os.environ.update(variables)
    os.environ.setdefault("MIGRATION_WAKE_TIMEOUT_SECONDS", "0.001")  # nothing wakes this database: report at once
    try:
        settings = load(Settings)
        listeners = serve.listen(settings.host, settings.port)
        migrate(settings)
        if settings.payments == "stand_in":
            from audifi.subscriptions.cli import sync_prices  # noqa: PLC0415 - it imports Typer and Rich

            sync_prices()  # each start has a new stand-in, whose prices are not in the database
        if os.environ.get("DEMO"):
            fill(settings)
        logs.configure()
        print_addresses(settings, variables.get("DATABASE_URL", settings.database_url.location))
        app = create_app(build_services(settings))
        serve.show_metrics(app, settings)
        serve.serve(app, settings, listeners)
    except SettingsError as error:
        sys.exit(f"make run: {error}")


def end_with_parent() -> None:
    """End this process when `dev.run` has ended without stopping it: then the pipe is closed."""
    os.read(sys.stdin.fileno(), 1)
    os.kill(os.getpid(), signal.SIGTERM)


def migrate(settings: Settings) -> None:
    """Run Fly's release command, unless the database has the newest migration."""
    if asyncio.run(read_revision(settings)) == newest_revision():
        return
    print("Migrating …", flush=True)
    # Only here, to end Alembic, too: an import may swallow the exception.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    process = subprocess.run(["alembic", "upgrade", "head"], cwd=ROOT / "server", check=False)  # noqa: S607
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if process.returncode:
        sys.exit(process.returncode)  # Alembic has printed the reason


def fill(settings: Settings) -> None:
    """Create the demo before the server starts, whose jobs would otherwise process an unfinished history."""
    from audifi.demo.cli import make_demo  # noqa: PLC0415 - it imports Typer and Rich
    from audifi.demo.world import DemoError  # noqa: PLC0415 - a start without DEMO=1 needn't import it

    try:
        asyncio.run(make_demo(settings))
    except DemoError as error:
        sys.exit(f"make run: {error}")


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
    payments = (
        f"\n  Payments  {settings.stripe_api_base} (Stripe's stand-in)" if settings.payments == "stand_in" else ""
    )
    print(
        f"\n  Health    {address}/api/v1/health"
        f"\n  Docs      {address}/docs"
        f"\n  Emails    {emails}"
        f"\n  Database  {database}"
        f"\n  Files     {settings.files_endpoint}"
        f"{payments}"
        "\n\n  Ctrl-C stops it.\n",
        flush=True,
    )


if __name__ == "__main__":
    main()
