"""`make doctor`: `python -m audifi doctor` with the settings of `make run`, and with its database if it is running."""

import os
import sys

from dev.run import DATA, set_defaults


def running_database() -> str | None:
    """The URL of the one in .data/postgres: postmaster.pid has the port in line 4, its socket's folder in 5."""
    file = DATA / "postgres" / "postmaster.pid"
    if not file.exists():
        return None
    _, _, _, port, folder, *_ = file.read_text().splitlines()
    return f"postgresql://postgres@/postgres?host={folder}&port={port}"


def main() -> None:
    set_defaults()
    url = os.environ.get("DATABASE_URL") or running_database()
    if url is None:
        sys.exit("make doctor: there is no database; `make run` starts one, or set DATABASE_URL")
    os.environ["DATABASE_URL"] = url
    os.execv(sys.executable, [sys.executable, "-m", "audifi", "doctor", *sys.argv[1:]])  # noqa: S606 - no shell, and nothing from outside


if __name__ == "__main__":
    main()
