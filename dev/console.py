"""`make audifi` and `make doctor`: run `python -m audifi` with the settings and services of `make run`."""

import os
import sys

from dev import files, stripe
from dev.defaults import DATA, set_defaults


def running_database() -> str | None:
    """Return the URL of the database in .data/postgres: line 4 of postmaster.pid is its port, 5 its socket folder."""
    file = DATA / "postgres" / "postmaster.pid"
    if not file.exists():
        return None
    _, _, _, port, folder, *_ = file.read_text().splitlines()
    return f"postgresql://postgres@/postgres?host={folder}&port={port}"


def main() -> None:
    set_defaults()
    url = os.environ.get("DATABASE_URL") or running_database()
    if url is None:
        sys.exit("make: there is no database; `make run` starts one, or set DATABASE_URL")
    os.environ["DATABASE_URL"] = url
    if not os.environ.get("FILES_ENDPOINT"):
        os.environ.update(files.read_variables(DATA / "files"))
    if os.environ.get("PAYMENTS") == "stand_in":
        os.environ.update(stripe.read_variables(DATA))
    os.execv(sys.executable, [sys.executable, "-m", "audifi", *sys.argv[1:]])  # noqa: S606 - no shell, and nothing from outside


if __name__ == "__main__":
    main()
