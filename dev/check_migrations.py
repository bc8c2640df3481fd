"""`python -m dev.check_migrations`: an empty database migrates to the one head, and the models are what comes of it."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from alembic.config import Config
from alembic.script import ScriptDirectory

from dev import postgres

SERVER = Path(__file__).parent.parent / "server"


def main() -> None:
    heads = ScriptDirectory.from_config(Config(SERVER / "alembic.ini")).get_heads()
    if len(heads) != 1:
        sys.exit(f"migrations: there must be one head, and there are {len(heads)}: {', '.join(heads)}")
    with tempfile.TemporaryDirectory() as folder, postgres.running(Path(folder) / "postgres") as server:
        alembic("upgrade", "head", database_url=server.url(), otherwise="an empty database can't be migrated")
        alembic("check", database_url=server.url(), otherwise="the models have changed without a migration")
    print(f"migrations: an empty database migrates to {heads[0]}, which is what the models say")


def alembic(*arguments: str, database_url: str, otherwise: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "alembic", *arguments],
        cwd=SERVER,
        env=os.environ | {"DATABASE_URL": database_url},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{done.stdout}{done.stderr}migrations: {otherwise}")


if __name__ == "__main__":
    main()
