"""A clone of this repository, whose commits are the versions that a rehearsal deploys."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from alembic.config import Config
from alembic.script import ScriptDirectory

from tests.support.api import ROOT

AUTHOR = {
    f"GIT_{role}_{field}": value
    for role in ("AUTHOR", "COMMITTER")
    for field, value in (("NAME", "Rehearsal"), ("EMAIL", "rehearsal@audifi.test"))
}

MIGRATION = '''"""{doc}

Step: expand
"""

from alembic import op

revision = "{revision}"
down_revision = "{after}"
branch_labels = None
depends_on = None


def upgrade() -> None:
{statements}


def downgrade() -> None:
    pass
'''


class Checkout:
    """A clone at this repository's HEAD; uncommitted changes are not rehearsed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        subprocess.run(["git", "clone", "--quiet", "--shared", ROOT, folder], check=True)
        self.good = self.git("rev-parse", "HEAD")
        """The rehearsed version; other versions are derived from it."""

    def git(self, *arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=self.folder, env=os.environ | AUTHOR, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def commit(self, message: str, changes: Mapping[str, str], *, on: str = "") -> str:
        """Create and check out a commit; return its hash.

        Args:
            message: describes the version.
            changes: new contents by path.
            on: the parent; by default the good version.
        """
        self.git("checkout", "--quiet", "--detach", on or self.good)
        for path, content in changes.items():
            file = self.folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)
        return self.git("rev-parse", "HEAD")

    def replaced(self, path: str, old: str, new: str, *, on: str = "") -> dict[str, str]:
        """Return changes for `commit`: a file of `on` with one occurrence replaced."""
        text = self.git("show", f"{on or self.good}:{path}") + "\n"
        assert text.count(old) == 1, f"{path} holds {old!r} {text.count(old)} times"
        return {path: text.replace(old, new)}

    @property
    def head(self) -> str:
        """The latest migration of the good version."""
        (head,) = ScriptDirectory.from_config(Config(ROOT / "server" / "alembic.ini")).get_heads()
        return head

    def migration(self, name: str, *statements: str, after: str = "") -> dict[str, str]:
        """Return changes for `commit`: a new migration, by default after the good version's latest."""
        text = MIGRATION.format(
            doc=name.replace("_", " "),
            revision=name,
            after=after or self.head,
            statements="\n".join(f"    op.execute({each!r})" for each in statements),
        )
        return {f"server/alembic/versions/{name}.py": text}
