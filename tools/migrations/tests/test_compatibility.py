"""`make compatibility` reports what would break the running release, and nothing else."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tools.migrations.checkouts import Checkout, commit

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ON_WARM_CONNECTIONS = "the previous release fails its smoke test, on the new schema, with the connections it had"


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout.make(tmp_path)


def verify(checkout: Checkout, *statements: str) -> subprocess.CompletedProcess[str]:
    """Run it on a commit whose migration runs these statements."""
    checkout.add_migration("; ".join(statements))
    commit(checkout.root)
    return checkout.run("tools.migrations.compatibility")


def test_nullable_column_passes(checkout: Checkout) -> None:
    done = verify(checkout, "ALTER TABLE users ADD COLUMN bio text")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "the previous release passes its smoke test, on the new schema, with the connections it had" in done.stdout
    assert "no smoke test yet" not in done.stdout


def test_renamed_column_fails_and_is_named(checkout: Checkout) -> None:
    done = verify(checkout, "ALTER TABLE users RENAME COLUMN display_name TO name")

    assert done.returncode == 1
    assert ON_WARM_CONNECTIONS in done.stderr
    assert "PostgreSQL: column users.display_name does not exist" in done.stderr
    assert "expand, migrate, contract" in done.stderr


def test_changed_type_fails_on_existing_connections(checkout: Checkout) -> None:
    """A server that starts after the migration wouldn't notice."""
    done = verify(checkout, "ALTER TABLE users ALTER COLUMN display_name TYPE varchar(80)")

    assert done.returncode == 1
    assert ON_WARM_CONNECTIONS in done.stderr
    assert "PostgreSQL: cached plan must not change result type" in done.stderr


def test_new_code_must_suit_its_migration(checkout: Checkout) -> None:
    models = checkout.root / "server" / "audifi" / "auth" / "models.py"
    table = '    __tablename__ = "users"\n'
    models.write_text(models.read_text().replace(table, f"{table}    shoe_size: Mapped[str | None]\n"))

    done = verify(checkout, "ALTER TABLE users ADD COLUMN bio text")

    assert done.returncode == 1
    assert "this code fails its smoke test" in done.stderr
    assert "shoe_size" in done.stderr


def test_missing_history_passes_with_a_message(checkout: Checkout) -> None:
    shutil.rmtree(checkout.root / ".git")

    done = checkout.run("tools.migrations.compatibility")

    assert done.returncode == 0
    assert "NOT CHECKED, there is no previous release: there is no git history here" in done.stdout
