"""Restores a backup into a new PostgreSQL 16 and checks its contents (docs/backups.md).

    python -m tools.backup_drill               both kinds of backup, of a generated database, on this machine
    python -m tools.backup_drill DUMP          a dump made by `pg_dump --format=custom`, such as production's

Exit status 0: the restored database equals the original, and every check passed.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tools.backup_drill import drill
from tools.backup_drill.drill import DrillError

ROWS = 20_000


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dump", type=Path, nargs="?")
    parser.add_argument("--rows", type=int, default=ROWS, help="accounts in the generated database (%(default)s)")
    options = parser.parse_args(arguments)
    drills: list[Callable[[Path], None]] = [
        lambda folder: drill.dump_and_restore(folder, options.rows),
        lambda folder: drill.restore_to_a_point_in_time(folder, options.rows),
    ]
    if options.dump:
        drills = [lambda folder: drill.restore_dump(folder, options.dump)]
    try:
        for run in drills:
            with tempfile.TemporaryDirectory(prefix="audifi-backup-") as folder:
                Path(folder).chmod(0o755)  # PostgreSQL may run as another user
                run(Path(folder))
    except DrillError as error:
        sys.exit(f"backup-drill: {error}")
    print("The restored database equals the backup.")


if __name__ == "__main__":
    main(sys.argv[1:])
