"""The lock files contain the pinned versions with hashes, and name no registry."""

import json
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.api import ROOT

SERVER = ROOT / "server"
PYPROJECT = tomllib.loads((SERVER / "pyproject.toml").read_text())
RUNTIME = SERVER / "requirements.lock"
RUNNING = SERVER / "requirements-run.lock"
DEVELOPMENT = SERVER / "requirements-dev.lock"
PEERS = ROOT / "tools" / "bench" / "peers"
PEERS_PYPROJECT = tomllib.loads((PEERS / "pyproject.toml").read_text())
PEERS_LOCK = PEERS / "requirements.lock"
LOCKS = [RUNTIME, RUNNING, DEVELOPMENT]
NPM_FOLDERS = [ROOT / "tools", ROOT / "clients" / "typescript", PEERS]
EXACT = re.compile(r"(?P<name>[a-z0-9-]+)(\[[a-z0-9,-]+\])?==(?P<version>[0-9][0-9a-z.]*)")

each_lock = pytest.mark.parametrize("lock", [*LOCKS, PEERS_LOCK], ids=lambda lock: f"{lock.parent.name}/{lock.name}")


@dataclass(frozen=True)
class Locked:
    version: str
    marker: str
    hashes: frozenset[str]


def read(lock: Path) -> dict[str, Locked]:
    packages = {}
    for entry in lock.read_text().replace("\\\n", " ").splitlines():
        if entry.startswith("#"):
            continue
        requirement, *hashes = entry.split("--hash=")
        pin, _, marker = requirement.partition(";")
        name, _, version = pin.strip().partition("==")
        assert name not in packages, f"{name} is listed twice"
        packages[name] = Locked(version, marker.strip(), frozenset(each.strip() for each in hashes))
    return packages


def direct(group: str | None = None) -> list[str]:
    """Return the requirements of the server, or of a group without its included groups."""
    requirements = PYPROJECT["dependency-groups"][group] if group else PYPROJECT["project"]["dependencies"]
    return [each for each in requirements if isinstance(each, str)]


@pytest.mark.parametrize(
    ("requirement", "locks"),
    [(each, LOCKS) for each in direct()]
    + [(each, [RUNNING, DEVELOPMENT]) for each in direct("run")]
    + [(each, [DEVELOPMENT]) for each in direct("dev")]
    + [(each, [PEERS_LOCK]) for each in PEERS_PYPROJECT["project"]["dependencies"]],
)
def test_requirement_is_pinned_and_locked_at_that_version(requirement: str, locks: list[Path]) -> None:
    pin = EXACT.fullmatch(requirement)

    assert pin, "pin it with =="
    for lock in locks:
        assert read(lock)[pin["name"]].version == pin["version"], "run `make lock`"


@each_lock
def test_every_package_has_a_version_and_hashes(lock: Path) -> None:
    packages = read(lock)

    assert len(packages) > 15
    for name, package in packages.items():
        assert EXACT.fullmatch(f"{name}=={package.version}")
        assert package.hashes
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", each) for each in package.hashes)


def test_dev_lock_contains_the_image_lock() -> None:
    assert read(RUNTIME).items() <= read(RUNNING).items() <= read(DEVELOPMENT).items()


def test_image_lock_has_no_development_tools() -> None:
    tools = {each.partition("==")[0] for group in ("run", "dev") for each in direct(group)}

    assert tools & set(read(RUNTIME)) == set()


each_npm_folder = pytest.mark.parametrize("folder", NPM_FOLDERS, ids=lambda folder: folder.name)


@pytest.mark.parametrize(
    "lock",
    [*LOCKS, PEERS_LOCK, *(folder / "package-lock.json" for folder in NPM_FOLDERS)],
    ids=lambda lock: f"{lock.parent.name}/{lock.name}",
)
def test_no_lock_names_a_registry(lock: Path) -> None:
    # Donation pages of packages.
    funding = r"https://(github\.com|opencollective\.com|feross\.org|www\.patreon\.com)/[\w/?=-]+"
    text = re.sub(f'"{funding}"', "", lock.read_text())

    assert not re.search(r"://|\bindex-url\b|\bfind-links\b|\btrusted-host\b|\bresolved\b", text)
    assert not re.search(r"^[^#]* @ ", text, re.MULTILINE)


@each_npm_folder
def test_npm_packages_are_pinned_and_locked_with_hashes(folder: Path) -> None:
    manifest = json.loads((folder / "package.json").read_text())
    lock = json.loads((folder / "package-lock.json").read_text())["packages"]
    wanted = manifest.get("devDependencies", {}) | manifest.get("dependencies", {})

    root = lock.pop("")
    assert root.get("devDependencies", {}) | root.get("dependencies", {}) == wanted
    for name, version in wanted.items():
        assert re.fullmatch(r"\d+\.\d+\.\d+", version)
        assert lock[f"node_modules/{name}"]["version"] == version
    assert all(package["integrity"].startswith("sha512-") for package in lock.values())


@each_npm_folder
def test_npm_locks_omit_registries_and_scripts_do_not_run(folder: Path) -> None:
    options = (folder / ".npmrc").read_text().splitlines()

    assert {"omit-lockfile-registry-resolved=true", "ignore-scripts=true"} <= set(options)


def test_every_file_names_the_same_python() -> None:
    version = (ROOT / ".python-version").read_text().strip()
    images = re.findall(r"^FROM (\S+)", (SERVER / "Dockerfile").read_text(), re.MULTILINE)

    assert version == "3.13"
    assert set(images) == {f"python:{version}-slim-trixie"}
    assert PYPROJECT["project"]["requires-python"] == f"=={version}.*"
    assert PYPROJECT["tool"]["mypy"]["python_version"] == version
    assert f"--python-version {version} " in (ROOT / "Makefile").read_text()
    assert f'target-version = "py{version.replace(".", "")}"' in (ROOT / "ruff.toml").read_text()
