"""A commit may replace only a commit that it contains, unless the deploy is forced."""

import subprocess
from pathlib import Path

import pytest

import order
from tools.pipeline.fake_fly import BEFORE, COMMIT, NEW, FakeFly, Step, health, release
from tools.rehearsal.checkout import AUTHOR


@pytest.fixture
def commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Commits of a Git repository in the current folder, by name: `old`, and its children `new` and `other`."""
    monkeypatch.chdir(tmp_path)
    for name, value in AUTHOR.items():
        monkeypatch.setenv(name, value)
    git("init", "--quiet", "--initial-branch", "main")
    hashes = {}
    for name, start in (("old", ""), ("new", "main"), ("other", "main~1")):
        if start:
            git("checkout", "--quiet", start, *(["-b", name] if name == "other" else []))
        git("commit", "--quiet", "--allow-empty", "--message", name)
        hashes[name] = git("rev-parse", "HEAD")
    return hashes


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout.strip()


def test_newer_or_same_commit_may_follow(commit: dict[str, str]) -> None:
    assert order.why_not_after(commit["old"], commit["new"]) == ""
    assert order.why_not_after(commit["old"][:7], commit["new"]) == ""
    assert order.why_not_after(commit["new"][:7], commit["new"]) == ""
    assert order.why_not_after("", commit["new"]) == ""


def test_older_or_unrelated_commit_may_not_follow(commit: dict[str, str]) -> None:
    old, new, other = (commit[name] for name in ("old", "new", "other"))

    assert order.why_not_after(new[:7], old) == f"{old[:7]} is older than {new[:7]}, which serves and contains it."
    assert order.why_not_after(other[:7], new) == f"{new[:7]} doesn't contain {other[:7]}, which serves."
    assert f"0ddba11, which serves, isn't in the Git history of {new[:7]}" in order.why_not_after("0ddba11", new)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("history", "sentence"),
    [
        ([COMMIT, BEFORE], "1a2b3c4 is older than 0ddba11, which serves and contains it."),
        ([COMMIT], "0ddba11, which serves, isn't in the Git history of 1a2b3c4"),
    ],
)
def test_deploy_out_of_order_is_refused_unless_forced(fly: FakeFly, history: list[str], sentence: str) -> None:
    fly.history = history

    refused = fly.deploy(GITHUB_REF_NAME="develop")

    assert refused.status == 1
    assert sentence in refused.last
    assert "`gh workflow run backend.yml --ref develop -f force=true`" in refused.last
    assert sentence in fly.summary
    assert fly.commands("deploy") == []

    assert fly.deploy("--force").status == 0
    assert len(fly.commands("deploy")) == 1


@pytest.mark.slow
def test_unavailable_app_is_compared_by_its_release(fly: FakeFly) -> None:
    fly.serve(health(""))
    fly.releases = [release(3, f"registry.fly.io/an-app:{BEFORE}")]
    fly.history = [COMMIT, BEFORE]

    assert "1a2b3c4 is older than 0ddba11" in fly.deploy().last


@pytest.mark.slow
def test_roll_back_accepts_an_older_commit(fly: FakeFly) -> None:
    fly.serve(health(NEW))
    fly.deploys = [Step(replies=[health("0.1.0+0ddba11")])]

    assert fly.run("roll-back", BEFORE).status == 0
