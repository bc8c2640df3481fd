"""The simulated docker for machines without Docker."""

import sys
from pathlib import Path

from tests.support.api import ROOT
from tools.image.containers import Docker


def docker(folder: Path) -> Docker:
    """Return an engine that runs tools/image/docker_simulator.py, with its images in a folder."""
    program = folder / "docker"
    simulator = f"{sys.executable} -m tools.image.docker_simulator {folder / 'state'}"
    program.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {simulator} "$@"\n')
    program.chmod(0o755)
    return Docker(str(program))
