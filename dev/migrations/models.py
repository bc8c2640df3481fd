"""What all migrations together come to, on an empty database, is what the models say (`make lint-migrations`)."""

import io
import os
import sys
import tempfile
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util import CommandError

from dev import postgres
from dev.migrations import ROOT


def main() -> None:
    config = Config(ROOT / "server" / "alembic.ini", stdout=io.StringIO())
    with tempfile.TemporaryDirectory() as folder, postgres.running(Path(folder) / "postgres") as server:
        os.environ["DATABASE_URL"] = server.url()
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            sys.exit(f"migrations: an empty database can't be migrated; mend the one that fails: {error}")
        try:
            command.check(config)
        except CommandError as error:
            sys.exit(
                "migrations: the models say something else; make the migration that is missing, "
                f'`make migration name="…"`, or take the change of the models back: {error}'
            )
    print("migrations: an empty database comes to what the models say")


if __name__ == "__main__":
    main()
