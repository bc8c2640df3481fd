"""deploy.py runs on the runner's own Python: 3.14 on ubuntu-26.04, 3.12 on ubuntu-24.04."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.api import ROOT

SCRIPT = ROOT / ".github" / "scripts" / "deploy.py"


@pytest.mark.parametrize("interpreter", ["python3.12", "python3.13", "python3.14", "/usr/bin/python3"])
def test_deploy_script_runs_on_supported_pythons(interpreter: str) -> None:
    """Where an interpreter is missing, lint-pipeline still checks the scripts against 3.12 and 3.14."""
    pyenv = map(str, Path.home().glob(".pyenv/versions/*/bin"))
    program = shutil.which(interpreter, path=os.pathsep.join([*pyenv, os.environ["PATH"]]))
    if program is None or not is_supported(program):
        pytest.skip(f"no {interpreter} of 3.12 or later here")
    command = [program, "-E", "-s", "-W", "error", str(SCRIPT), "deploy", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert "commit" in done.stdout


def is_supported(program: str) -> bool:
    """Return whether the program is Python 3.12 or later; False for a pyenv shim without that version."""
    version = [program, "-c", "import sys; sys.exit(sys.version_info < (3, 12))"]
    return subprocess.run(version, capture_output=True, check=False).returncode == 0
