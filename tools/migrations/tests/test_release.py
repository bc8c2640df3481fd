"""The previous release in histories of all shapes."""

import re
from pathlib import Path

import pytest

from tools.migrations.checkouts import commit, git
from tools.migrations.release import UnknownReleaseError, previous_release


@pytest.fixture
def history(tmp_path: Path) -> Path:
    """A repository with three commits on main."""
    folder = tmp_path / "history"
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch", "main")
    for _ in range(3):
        commit(folder)
    return folder


def at(history: Path, name: str) -> str:
    return git(history, "rev-parse", name)


def test_newest_tag_by_version_is_the_release(history: Path) -> None:
    for tag, where in {"v1.9.0": "HEAD^", "v1.10.0": "HEAD^", "v1.10.0-rc.1": "HEAD~2", "vendor": "HEAD^"}.items():
        git(history, "tag", tag, where)

    release = previous_release(history)

    assert (release.name, release.commit) == ("v1.10.0", at(history, "HEAD^"))


def test_tag_of_head_does_not_count(history: Path) -> None:
    git(history, "tag", "--annotate", "--message", "One", "v1.0.0", "HEAD^")
    git(history, "tag", "v2.0.0")

    release = previous_release(history)

    assert (release.name, release.commit) == ("v1.0.0", at(history, "HEAD^"))


def test_tag_on_another_branch_does_not_count(history: Path) -> None:
    git(history, "switch", "--quiet", "--create", "elsewhere")
    commit(history)
    git(history, "tag", "v9.0.0")
    git(history, "switch", "--quiet", "main")

    assert previous_release(history).commit == at(history, "HEAD^")


@pytest.mark.parametrize("detached", [False, True])
def test_previous_commit_of_main_is_the_release(history: Path, *, detached: bool) -> None:
    if detached:
        git(history, "switch", "--quiet", "--detach", "main")

    assert previous_release(history).commit == at(history, "HEAD^")


def test_branch_point_is_the_release(history: Path) -> None:
    left = at(history, "HEAD")
    git(history, "switch", "--quiet", "--create", "feature")
    commit(history)
    commit(history)
    git(history, "switch", "--quiet", "main")
    commit(history)
    git(history, "switch", "--quiet", "feature")

    assert previous_release(history).commit == left


def test_nearer_main_counts(history: Path) -> None:
    git(history, "update-ref", "refs/remotes/origin/main", "HEAD")
    git(history, "switch", "--quiet", "--create", "feature")
    commit(history)
    git(history, "branch", "--force", "main", "HEAD~2")

    assert previous_release(history).commit == at(history, "origin/main")


def test_pull_request_is_compared_with_its_base(history: Path) -> None:
    """actions/checkout leaves a merge commit, detached, without a local main."""
    git(history, "switch", "--quiet", "--create", "feature", "HEAD^")
    commit(history)
    git(history, "update-ref", "refs/remotes/origin/main", "main")
    git(history, "switch", "--quiet", "--detach", "main")
    git(history, "merge", "--quiet", "--no-ff", "--message", "Merge", "feature")
    git(history, "branch", "--quiet", "--delete", "--force", "main", "feature")

    assert previous_release(history).commit == at(history, "origin/main")


def test_shallow_clone_is_refused_with_advice(history: Path, tmp_path: Path) -> None:
    git(tmp_path, "clone", "--quiet", "--depth", "1", f"file://{history}", "shallow")

    with pytest.raises(UnknownReleaseError, match=re.escape("the clone is shallow; `git fetch --unshallow --tags`")):
        previous_release(tmp_path / "shallow")


def test_first_commit_has_no_previous_release(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet", "--initial-branch", "main")
    commit(tmp_path)

    with pytest.raises(UnknownReleaseError, match="HEAD is the first commit"):
        previous_release(tmp_path)


def test_history_without_main_is_refused_with_advice(history: Path) -> None:
    git(history, "branch", "--move", "trunk")

    with pytest.raises(UnknownReleaseError, match="git fetch --tags origin main"):
        previous_release(history)


def test_missing_git_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnknownReleaseError, match="there is no git history here"):
        previous_release(tmp_path)

    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnknownReleaseError, match="git isn't installed"):
        previous_release(tmp_path)


def test_history_of_a_parent_folder_does_not_count(history: Path) -> None:
    (history / "unpacked").mkdir()

    with pytest.raises(UnknownReleaseError, match="isn't this code's"):
        previous_release(history / "unpacked")
