"""`make compatibility`: the running release keeps working on the schema of this one.

The release runs from its own commit as a separate process until the end: like its machines, it has pooled connections
with statements from before the migration (asyncpg's InvalidCachedStatementError). A second process starts afterwards,
like after a rollback.
"""

import shutil
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from dev import postgres
from tests.support import api as apis
from tests.support.api import OURS, ROOT, Api, Code, environment, free_port
from tests.support.databases import FAST
from tools.migrations.release import Release, UnknownReleaseError, git, previous_release

SMOKE_TEST = Path("tools/smoke/__main__.py")
MEND = (
    "Take the change in steps that the previous release doesn't notice, expand, migrate, contract, "
    'each released before the next (docs/runbook.md, "A migration").'
)


class BrokenError(Exception):
    """A step failed. The message says which and why."""


def run(code: Code, *arguments: str, folder: str = ".", **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the code's Python with these arguments."""
    return subprocess.run(
        [code.python, *arguments],
        cwd=code.root / folder,
        env=environment(code, **variables),
        capture_output=True,
        text=True,
        check=False,
    )


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A database and the steps on it."""

    folder: Path
    database_url: str
    mail_port: int
    servers: ExitStack

    def migrate(self, code: Code) -> None:
        self._check(
            run(code, "-m", "alembic", "upgrade", "head", folder="server", DATABASE_URL=self.database_url),
            f"{code.name} can't migrate the database",
        )
        print(f"- {code.name} has migrated", flush=True)

    def start(self, code: Code) -> Api:
        api = apis.running(
            self.folder,
            "audifi.serve",
            code,
            DATABASE_URL=self.database_url,
            SENDGRID_API_KEY="SG.of-the-smoke-test",
            SENDGRID_API_URL=f"http://127.0.0.1:{self.mail_port}",
            TRUSTED_PROXIES="127.0.0.0/8",
        )
        try:
            return self.servers.enter_context(api)
        except AssertionError as error:
            raise BrokenError(f"{code.name} doesn't start: {error}") from None

    def smoke_test(self, code: Code, api: Api, when: str, tests: Code | None = None) -> None:
        self._check(
            run(tests or code, "-m", "tools.smoke", SMOKE_URL=api.url, SMOKE_MAIL_PORT=str(self.mail_port)),
            f"{code.name} fails its smoke test, {when}",
        )
        print(f"- {code.name} passes its smoke test, {when}", flush=True)

    def _check(self, done: subprocess.CompletedProcess[str], otherwise: str) -> None:
        log = self.folder / "postgres.log"
        errors = {line.partition("ERROR:")[2].strip() for line in log.read_text().splitlines() if "ERROR:" in line}
        if done.returncode:
            postgres_errors = "".join(f"\n  PostgreSQL: {error}" for error in sorted(errors))
            raise BrokenError(f"{otherwise}.\n{done.stdout}{done.stderr}{postgres_errors}")


def main() -> None:
    try:
        release = previous_release(ROOT)
    except UnknownReleaseError as unknown:
        print(f"compatibility: NOT CHECKED, there is no previous release: {unknown}")
        return
    print(f"compatibility: with the previous release, {release.name}", flush=True)
    with TemporaryDirectory(prefix="audifi-compatibility-") as folder:
        try:
            verify(release, Path(folder))
        except BrokenError as broken:
            sys.exit(f"compatibility: FAILED: {broken}")
    print("compatibility: the previous release serves on while this one is deployed, and can be rolled back to")


def verify(release: Release, folder: Path) -> None:
    previous = check_out(release, folder / "previous")
    has_test = (previous.root / SMOKE_TEST).exists()
    if not has_test:
        print(f"- {previous.name} has no smoke test yet: ours is run", flush=True)
    tests = previous if has_test else OURS
    with postgres.running(folder / "postgres", settings=FAST) as server, ExitStack() as servers:
        stage = Stage(folder=folder, database_url=server.url(), mail_port=free_port(), servers=servers)
        stage.migrate(previous)
        warm = stage.start(previous)
        stage.smoke_test(previous, warm, "on its own schema", tests)
        stage.migrate(OURS)
        try:
            stage.smoke_test(previous, warm, "on the new schema, with the connections it had", tests)
            stage.smoke_test(previous, stage.start(previous), "on the new schema, started anew", tests)
        except BrokenError as broken:
            raise BrokenError(f"{broken}\n{MEND}") from None
        stage.smoke_test(OURS, stage.start(OURS), "beside it")


def check_out(release: Release, root: Path) -> Code:
    """Check out a release, with a Python that has its locked packages: this one if they are the same."""
    archive = root.with_suffix(".tar")
    git(ROOT, "archive", "--format=tar", f"--output={archive}", release.commit)
    shutil.unpack_archive(archive, root, filter="data")
    lock = Path("server/requirements-dev.lock")  # of the smoke test, too
    python = sys.executable
    if (root / lock).read_bytes() != (ROOT / lock).read_bytes():
        print("- the previous release has other packages: installing them", flush=True)
        python = str(root / ".venv" / "bin" / "python")
        make = [sys.executable, "-m", "venv", "--without-pip", str(root / ".venv")]
        install = ["uv", "pip", "sync", "--quiet", "--python", python, "--require-hashes", str(root / lock)]
        for command in (make, install):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise BrokenError(f"the previous release's packages can't be installed:\n{done.stdout}{done.stderr}")
    return Code(name="the previous release", root=root, python=python)


if __name__ == "__main__":
    main()
