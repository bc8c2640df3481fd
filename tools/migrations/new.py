"""`make migration name="…"`: writes the next migration from the template, and its line in the list."""

import re
import sys
import warnings

from alembic import command
from alembic.config import Config
from alembic.util import CommandError

from tools.migrations import ROOT, VERSIONS, hashes

NAME = re.compile(r"[A-Za-z0-9][\w .,:;()'/-]{0,78}[\w)]")  # becomes a docstring and a file name


def main() -> None:
    name = " ".join(sys.argv[1:]).strip()
    if not NAME.fullmatch(name):
        sys.exit(
            'migrations: say what it does, in up to 80 letters, digits and blanks: make migration name="add users.bio"'
        )
    versions = ROOT / VERSIONS
    revision = f"{max((int(path.name[:4]) for path in versions.glob('[0-9]*_*.py')), default=0) + 1:04}"
    try:
        with warnings.catch_warnings(action="error", category=UserWarning):
            command.revision(
                Config(ROOT / "server" / "alembic.ini"), message=name[0].upper() + name[1:], rev_id=revision
            )
    except (CommandError, UserWarning) as error:
        sys.exit(f"migrations: {error}\nmigrations: mend those that are there first; `make lint` says how")
    (made,) = versions.glob(f"{revision}_*.py")
    for refusal in hashes.update(ROOT):
        print(f"migrations: {refusal}", file=sys.stderr)
    print(
        f"migrations: made {VERSIONS / made.name}; now name its step, write it, change the models, "
        "and then run `make hashes` and `make lint`"
    )


if __name__ == "__main__":
    main()
