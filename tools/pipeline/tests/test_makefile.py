"""The Makefile's targets for tests."""

import shlex
import subprocess

import pytest

from tests.support.api import ROOT


@pytest.mark.parametrize("target", ["test", "test-tools", "test-slow"])
def test_paths_in_args_replace_the_default_ones(target: str) -> None:
    command = ["make", "--dry-run", target, "ARGS=tests/health"]
    recipe = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()[-1]

    assert [word for word in shlex.split(recipe) if (ROOT / word).is_dir()] == ["tests/health"]
