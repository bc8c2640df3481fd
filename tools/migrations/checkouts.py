"""Copies of this checkout with their own git history, to break."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from tests.support.api import OURS, ROOT, Code, environment
from tools.migrations import VERSIONS, hashes

COPIED = [
    *("server", "dev", "tests/support", "tests/migrations"),
    *("tools/smoke", "tools/migrations", "tools/contract_diff"),
]
BUILT = shutil.ignore_patterns("__pycache__", "node_modules")
NEWEST = max(path.name[:4] for path in (ROOT / VERSIONS).glob("*.py"))
NEXT = f"{int(NEWEST) + 1:04}"


def git(folder: Path, *arguments: str) -> str:
    """Run git without this machine's settings."""
    done = subprocess.run(
        ["git", "-c", "user.name=Ana", "-c", "user.email=ana@example.com", *arguments],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def commit(folder: Path) -> str:
    """Commit all files and return the commit."""
    git(folder, "add", "--all")
    # A unique message: git would make one commit of two equal ones in the same second.
    git(folder, "commit", "--quiet", "--allow-empty", "--message", f"Work {uuid4().hex}")
    return git(folder, "rev-parse", "HEAD")


@dataclass(frozen=True)
class Checkout:
    """A checkout on main whose content was released one commit ago."""

    root: Path

    @classmethod
    def make(cls, root: Path) -> "Checkout":
        for name in COPIED:
            shutil.copytree(ROOT / name, root / name, ignore=BUILT)
        for name in ("Makefile", "ruff.toml", ".python-version"):
            shutil.copy2(ROOT / name, root)
        (root / ".venv").symlink_to(ROOT / ".venv")
        (root / ".gitignore").write_text(".venv\n__pycache__/\n.ruff_cache/\n")
        git(root, "init", "--quiet", "--initial-branch", "main")
        checkout = cls(root)
        checkout.release()
        return checkout

    def release(self) -> None:
        commit(self.root)
        commit(self.root)

    def make_target(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self._run("make", *arguments)

    def run(self, module: str) -> subprocess.CompletedProcess[str]:
        return self._run(OURS.python, "-m", module)

    def _run(self, *command: str) -> subprocess.CompletedProcess[str]:
        code = Code(name="the copy", root=self.root, python=OURS.python)
        return subprocess.run(
            command, cwd=self.root, env=environment(code), capture_output=True, text=True, check=False
        )

    def migration(self, revision: str) -> Path:
        """Return the file of a migration, by default the newest."""
        (path,) = (self.root / VERSIONS).glob(f"{revision}_*.py")
        return path

    def add_migration(
        self, upgrade: str, *, step: str = "Step: expand", revision: str = NEXT, down: str = NEWEST, name: str = "test"
    ) -> Path:
        """Add a migration that runs this SQL and list its hash."""
        path = self.root / VERSIONS / f"{revision}_{name}.py"
        path.write_text(
            f'"""Test.\n\n{step}\n"""\n'
            "from alembic import op\n"
            f"revision, down_revision, branch_labels, depends_on = {revision!r}, {down!r}, None, None\n"
            f"def upgrade():\n    op.execute({upgrade!r})\n"
            "def downgrade():\n    pass\n"
        )
        assert hashes.update(self.root) == []
        return path
