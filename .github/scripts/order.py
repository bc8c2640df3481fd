"""Keeps deploys in the order of the branch: a commit may replace only a commit that it contains.

Reads the Git history of the current folder. Python 3.12 to 3.14, standard library only.
"""

import subprocess


def why_not_after(serving: str, commit: str) -> str:
    """Return why `commit` must not replace `serving`; empty if it may.

    Args:
        serving: the commit that serves, or its first digits; empty if unknown.
        commit: full hash.
    """
    if not serving or commit.startswith(serving):
        return ""
    if not _git("cat-file", "-e", f"{serving}^{{commit}}"):
        return (
            f"{serving[:7]}, which serves, isn't in the Git history of {commit[:7]}: it was deployed by hand, or its"
            " branch was rewritten."
        )
    if _git("merge-base", "--is-ancestor", serving, commit):
        return ""
    if _git("merge-base", "--is-ancestor", commit, serving):
        return f"{commit[:7]} is older than {serving[:7]}, which serves and contains it."
    return f"{commit[:7]} doesn't contain {serving[:7]}, which serves."


def _git(*arguments: str) -> bool:
    """Run git; return whether it succeeded."""
    done = subprocess.run(["git", *arguments], capture_output=True, stdin=subprocess.DEVNULL, check=False)
    return done.returncode == 0
