"""`make hashes`: server/alembic/released.sha256 lists every migration. The line of a released one never changes.

Git's history says what was released, where it is available. The list says it elsewhere, `sha256sum --check` reads it,
it shows each change of a migration in a pull request, and two branches that each add a migration get a conflict
in it.
"""

import hashlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from tools.migrations import ALEMBIC, ROOT, VERSIONS
from tools.migrations.release import Release, UnknownReleaseError, previous_release, released_migrations

LIST = ALEMBIC / "released.sha256"


def main() -> None:
    if refusals := update(ROOT):
        sys.exit("\n".join(f"migrations: {refusal}" for refusal in refusals))
    print(f"migrations: {LIST} lists all of them")


def update(root: Path) -> list[str]:
    """Write the list; return the reasons if it is refused."""
    files = hash_files(root)
    try:
        release = previous_release(root)
    except UnknownReleaseError as unknown:
        listed = read_list(root)
        refusals = [
            f"{name} isn't what the list says, and its release is unknown: {unknown}. "
            f"If it wasn't, delete its line from {LIST} and run `make hashes` again"
            for name in listed
            if files.get(name) != listed[name]
        ]
    else:
        refusals = list(changes_of_released(files, release, released_migrations(root, release)))
    if not refusals:
        (root / LIST).write_text("".join(f"{files[name]}  versions/{name}\n" for name in sorted(files)))
    return refusals


def hash_files(root: Path) -> dict[str, str]:
    """Return the sha256 of each migration by file name."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (root / VERSIONS).glob("*.py")}


def read_list(root: Path) -> dict[str, str]:
    """Read the list, which has the format of `sha256sum`."""
    try:
        lines = (root / LIST).read_text().splitlines()
    except FileNotFoundError:
        return {}
    return {name.removeprefix("versions/"): sha256 for sha256, _, name in (line.partition("  ") for line in lines)}


def changes_of_released(files: Mapping[str, str], release: Release, released: Mapping[str, str]) -> Iterator[str]:
    """Yield a message for each change of a released migration."""
    for name, sha256 in released.items():
        bring_back = f"bring it back with `git checkout {release.commit[:12]} -- {VERSIONS / name}`"
        if name not in files:
            yield f"{name} was released ({release.name}) and is gone; {bring_back}, and undo what it did in a new one"
        elif files[name] != sha256:
            yield (
                f"{name} was released ({release.name}) and has changed, but no database runs it again; {bring_back}, "
                'and make the change in a new one: `make migration name="…"`'
            )


def changes_of_list(files: Mapping[str, str], listed: Mapping[str, str]) -> Iterator[str]:
    """Yield a message for each difference between the files and the list."""
    for name in sorted(files.keys() | listed.keys()):
        if name not in listed:
            yield f"{name} isn't in {LIST}; `make hashes` adds it"
        elif name not in files:
            yield f"{name} is in {LIST}, but isn't there; if it was released, bring it back, else run `make hashes`"
        elif files[name] != listed[name]:
            yield f"{name} isn't what {LIST} says; if it was released, bring it back as it was, else run `make hashes`"


if __name__ == "__main__":
    main()
