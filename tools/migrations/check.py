"""Checks of migration files (`make lint-migrations`). Each message says what to do."""

import io
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import Script, ScriptDirectory

from tools.migrations import ROOT, VERSIONS, hashes
from tools.migrations.release import Release, UnknownReleaseError, previous_release, released_migrations

SERVER = ROOT / "server"
STEPS = ("expand", "migrate", "contract")
IGNORE = re.compile(r"--\s*squawk-ignore.*")
IGNORE_WITH_REASON = re.compile(r"-- squawk-ignore [a-z, -]*[a-z] -- .*\w.*")
# Alembic creates the table of the revision; its column has never changed.
VERSION_COLUMN = "version_num VARCHAR(32)"


def main() -> None:
    release: Release | None = None
    released: dict[str, str] = {}
    try:
        release = previous_release(ROOT)
        released = released_migrations(ROOT, release)
        print(f"migrations: compared with {release.name}")
    except UnknownReleaseError as unknown:
        print(f"migrations: all are taken for new ones, and a change of a released one goes unseen: {unknown}")
    files = hashes.hash_files(ROOT)
    new = files.keys() - released.keys()

    # Each check may rely on those before it.
    if release:
        refuse(hashes.changes_of_released(files, release, released))
    refuse(hashes.changes_of_list(files, hashes.read_list(ROOT)))
    refuse(not_one_line())
    scripts = [script for script in in_order() if Path(script.path).name in new]
    refuse(without_step(scripts))
    refuse(refusal for script in scripts for refusal in unsafe(script, reasons=release is not None))
    print(f"migrations: {len(files)} in one line, {len(new)} of them new")


def refuse(refusals: Iterator[str]) -> None:
    if lines := [f"migrations: {refusal}" for refusal in refusals]:
        sys.exit("\n".join(lines))


def in_order() -> list[Script]:
    """Return all migrations, the oldest first."""
    return list(ScriptDirectory.from_config(Config(SERVER / "alembic.ini")).walk_revisions())[::-1]


def not_one_line() -> Iterator[str]:
    names: dict[str, list[str]] = {}
    for path in sorted((ROOT / VERSIONS).glob("*.py")):
        names.setdefault(path.name.partition("_")[0], []).append(path.name)
    for revision, same in names.items():
        if len(same) > 1:
            yield f"{revision} is there twice, {' and '.join(same)}; {come_after('the one that main lacks')}"
            return
    try:
        with warnings.catch_warnings(action="error", category=UserWarning):
            directory = ScriptDirectory.from_config(Config(SERVER / "alembic.ini"))
            heads = directory.get_heads()
    except UserWarning as warning:  # a revision that isn't there, or is twice
        yield f"{warning}; mend revision and down_revision in it"
        return
    if len(heads) != 1:
        yield f"there are {len(heads)} heads, {' and '.join(sorted(heads))}; {come_after('the one that main lacks')}"
        return
    for script in in_order():
        name = Path(script.path).name
        if not name.startswith(f"{script.revision}_"):
            yield f"{name} says that it is {script.revision}; name the file and its `revision` alike"
        if isinstance(script.down_revision, tuple):
            yield f"{name} joins {' and '.join(script.down_revision)}; {come_after('one of them')}, and remove it"


def come_after(files: str) -> str:
    return (
        f"have {files} come after the other: the next number in its name and `revision`, the other's in `down_revision`"
    )


def without_step(scripts: list[Script]) -> Iterator[str]:
    for script in scripts:
        lines = re.findall(r"^[ \t]*Step:.*", script.module.__doc__ or "", re.MULTILINE)
        if lines not in [[f"Step: {step}"] for step in STEPS]:
            yield (
                f"{Path(script.path).name} must name its step in one line of its docstring: "
                '`Step: expand`, `Step: migrate` or `Step: contract` (docs/runbook.md, "A migration")'
            )


def unsafe(script: Script, *, reasons: bool) -> Iterator[str]:
    """Yield what squawk reports about one migration's SQL.

    Each migration is checked alone: a commit in the middle (CREATE INDEX CONCURRENTLY) doesn't affect the others.

    Args:
        script: the migration.
        reasons: whether an ignored rule must have a reason. Released migrations need none.
    """
    name = Path(script.path).name
    sql = io.StringIO()
    config = Config(SERVER / "alembic.ini", output_buffer=sql)
    command.upgrade(config, f"{script.down_revision or 'base'}:{script.revision}", sql=True)
    for ignored in IGNORE.findall(sql.getvalue()):
        if reasons and not IGNORE_WITH_REASON.fullmatch(ignored):
            yield f"{name} doesn't say why it can't hurt; write `-- squawk-ignore RULE -- REASON` for `{ignored}`"
    done = subprocess.run(
        ["squawk", "--pg-version", "16", "--stdin-filepath", f"{name}, as SQL"],
        input=sql.getvalue().replace(VERSION_COLUMN, f"-- squawk-ignore prefer-text-field\n{VERSION_COLUMN}"),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        yield (
            f"{name} can hurt:\n\n{done.stdout}{done.stderr}\nmigrations: do it as squawk says; or, where it can't "
            'hurt here, write `-- squawk-ignore RULE -- REASON` above the statement (docs/runbook.md, "A migration")'
        )


if __name__ == "__main__":
    main()
