"""Checks each updater of dependabot.yml: zizmor 1.32 stops after the first one that has a cooldown."""

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.support.api import ROOT

CONFIG: dict[str, Any] = YAML(typ="safe").load((ROOT / ".github" / "dependabot.yml").read_text())
MANIFESTS = {
    "github-actions /": "/.github/workflows/backend.yml",  # "/" stands for .github/workflows
    "docker /server": "/server/Dockerfile",
    "uv /server": "/server/pyproject.toml",
    "npm /tools": "/tools/package.json",
    "npm /clients/typescript": "/clients/typescript/package.json",
    "npm /tools/bench/peers": "/tools/bench/peers/package.json",
    "uv /tools/bench/peers": "/tools/bench/peers/pyproject.toml",
}
UPDATERS: dict[str, dict[str, Any]] = {
    f"{each['package-ecosystem']} {each['directory']}": each for each in CONFIG["updates"]
}
each_updater = pytest.mark.parametrize("name", MANIFESTS)


def test_every_ecosystem_has_exactly_one_updater() -> None:
    assert CONFIG["version"] == 2
    assert list(UPDATERS) == list(MANIFESTS)
    assert len(CONFIG["updates"]) == len(MANIFESTS)


@each_updater
def test_updater_directory_has_the_manifest(name: str) -> None:
    manifest = MANIFESTS[name]

    assert (ROOT / manifest.removeprefix("/")).is_file()
    assert name.startswith("github-actions ") or UPDATERS[name]["directory"] == str(Path(manifest).parent)


def test_every_manifest_has_an_updater() -> None:
    names = {Path(manifest).name for manifest in MANIFESTS.values()}
    skipped = {".venv", ".data", "node_modules", "tests"}
    manifests = {
        f"/{path.relative_to(ROOT)}"
        for name in names
        for path in ROOT.rglob(name)
        if not skipped & set(path.relative_to(ROOT).parts)
    }
    assert manifests == set(MANIFESTS.values())


@each_updater
def test_updates_are_weekly_with_a_cooldown_of_a_week(name: str) -> None:
    assert UPDATERS[name]["schedule"]["interval"] == "weekly"
    assert UPDATERS[name]["cooldown"] == {"default-days": 7}


@each_updater
def test_updater_opens_one_grouped_pull_request(name: str) -> None:
    (group,) = UPDATERS[name]["groups"].values()

    assert group == {"patterns": ["*"]}


@each_updater
def test_updates_go_to_staging_before_production(name: str) -> None:
    assert UPDATERS[name]["target-branch"] == "develop"


@each_updater
def test_updater_has_no_other_settings(name: str) -> None:
    assert set(UPDATERS[name]) == {
        *["package-ecosystem", "directory", "target-branch", "schedule", "cooldown", "groups"]
    }
