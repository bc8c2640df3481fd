"""The previous release, for every check that compares with it."""

import hashlib
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tools.migrations import VERSIONS

MAINS = ("refs/heads/main", "refs/remotes/origin/main")


class UnknownReleaseError(Exception):
    """The release is unknown. The message says why and what to do."""


class GitError(Exception):
    pass


@dataclass(frozen=True, kw_only=True)
class Release:
    commit: str
    name: str
    """For messages."""


def previous_release(root: Path) -> Release:
    """Return the release before the commit that is checked out at `root`.

    It is the newest tag `v…` behind HEAD. Without tags it is the commit at which HEAD's branch left main; for a commit
    of main itself, the one before it. A tag on HEAD doesn't count: it is being released.

    Raises:
        UnknownReleaseError: there is no history, or nothing to compare with.
    """
    head = _head(root)
    newest_first = ["--sort=-version:refname", "--list", "v[0-9]*"]
    suffixes = ["-c", "versionsort.suffix=-"]  # v1.0.0-rc.1 came before v1.0.0
    tags = git(root, *suffixes, "tag", "--merged", "HEAD", "--no-contains", "HEAD", *newest_first).splitlines()
    if tags:
        return Release(commit=git(root, "rev-parse", f"{tags[0]}^{{commit}}"), name=tags[0])
    mains = git(root, "for-each-ref", "--format=%(refname)", *MAINS).splitlines()
    if not mains:
        raise UnknownReleaseError(
            "there is neither a tag v… nor a branch main to compare with; "
            "`git fetch --tags origin main:refs/remotes/origin/main` gets them"
        )
    try:
        base = git(root, "merge-base", "HEAD", *mains)  # of both mains the nearer one: either may be out of date
        if base != head:
            return Release(commit=base, name=f"{base[:7]}, where this branch left main")
        base = git(root, "rev-parse", "--verify", "--quiet", "HEAD^")
    except GitError:
        raise UnknownReleaseError("nothing was released before: HEAD is the first commit of its branch") from None
    return Release(commit=base, name=f"{base[:7]}, the commit before")


def _head(root: Path) -> str:
    try:
        top = Path(git(root, "rev-parse", "--show-toplevel"))
        head = git(root, "rev-parse", "HEAD")
        is_shallow = git(root, "rev-parse", "--is-shallow-repository") == "true"
    except GitError as error:
        raise UnknownReleaseError(f"there is no git history here ({error})") from None
    if top != root.resolve():
        raise UnknownReleaseError(f"there is no git history here (that of {top} isn't this code's)")
    if is_shallow:
        raise UnknownReleaseError(
            "the clone is shallow; `git fetch --unshallow --tags` gets its history (`fetch-depth: 0` in a workflow)"
        )
    return head


def released_migrations(root: Path, release: Release) -> dict[str, str]:
    """Return the sha256 of each migration in a release by file name."""
    paths = git(root, "ls-tree", "--name-only", release.commit, f"{VERSIONS}/").splitlines()
    return {
        Path(path).name: hashlib.sha256(_git(root, "show", f"{release.commit}:{path}")).hexdigest()
        for path in paths
        if path.endswith(".py")
    }


def git(root: Path, *arguments: str) -> str:
    """Return the output of a git command.

    Raises:
        GitError: it failed, or git is missing.
    """
    return _git(root, *arguments).decode().strip()


def _git(root: Path, *arguments: str) -> bytes:
    try:
        done = subprocess.run(["git", "-C", root, *arguments], capture_output=True, check=False)
    except FileNotFoundError:
        raise GitError("git isn't installed") from None
    if done.returncode:
        raise GitError(done.stderr.decode().strip() or f"git {arguments[0]} found nothing")
    return done.stdout
