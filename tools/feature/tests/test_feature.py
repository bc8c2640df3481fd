"""What `make feature` writes passes what a push must pass."""

import subprocess
from pathlib import Path

import pytest

from tests.support.api import ROOT, environment
from tools.feature.__main__ import FeatureNameError, create
from tools.migrations.checkouts import git

TOUCHED = {
    "server/alembic/released.sha256",
    "server/audifi/app.py",
    "server/openapi.json",
}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A clone of HEAD; the template is the one of this folder."""
    folder = tmp_path / "checkout"
    subprocess.run(["git", "clone", "--quiet", ROOT, folder], check=True)
    return folder


def run(checkout: Path, *command: str) -> str:
    paths = {"PYTHONPATH": f"{checkout}/server:{checkout}", "MYPYPATH": ".github/scripts"}
    done = subprocess.run(command, cwd=checkout, env=environment(**paths), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_new_feature_works_and_touches_few_files(checkout: Path) -> None:
    written = create(checkout, "setlists", "setlist")
    assert not [path for path in written if "playlist" in path.read_text().lower()]
    run(checkout, "ruff", "check", "--fix", ".")  # as `make format` does
    run(checkout, "ruff", "format", ".")
    document = run(checkout, "python", "-m", "audifi", "openapi")
    (checkout / "server" / "openapi.json").write_text(document)

    run(checkout, "ruff", "check", ".")
    run(checkout, "mypy", "--config-file", "server/pyproject.toml", "server/audifi/setlists", "tests/setlists")
    run(checkout, "python", "-m", "tools.migrations.check")
    run(checkout, "python", "-m", "tools.migrations.models")
    run(checkout, "python", "-m", "pytest", "-q", "tests/setlists")
    git(checkout, "add", "--all")
    paths = set(git(checkout, "diff", "--cached", "--name-only").splitlines())

    outside = {path for path in paths if not path.startswith(("server/audifi/setlists/", "tests/setlists/"))}
    migrations = {path for path in outside if path.startswith("server/alembic/versions/")}
    assert len(migrations) == 1
    assert outside - migrations <= TOUCHED


def test_new_feature_is_listed_in_app(checkout: Path) -> None:
    create(checkout, "setlists", "setlist")
    features = run(checkout, "python", "-c", "from audifi.app import FEATURES; print(*[f.name for f in FEATURES])")

    assert features.split()[-1] == "setlists"


@pytest.mark.parametrize("name", ["Playlists", "a", "two words", "auth", "x/y", "playlist_s"])
def test_unusable_name_is_refused(name: str) -> None:
    with pytest.raises(FeatureNameError):
        create(ROOT, name, "thing")
