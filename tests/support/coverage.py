"""pytest plugin of `make test`: fails the run unless the tests reach every line and branch of each feature.

Importing it starts the measurement, so it must be imported before any of `audifi`: PYTEST_PLUGINS names it. SlipCover
instruments the features' files only, so other code runs at its full speed. COVERED names the one feature to measure.
"""

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest
import slipcover
from xdist.workermanage import WorkerController

from tests.support.api import ROOT

PACKAGE = ROOT / "server" / "audifi"
COVERED = os.environ.get("COVERED") or "*"
MEASURED = [path.parent for path in PACKAGE.glob(f"{COVERED}/feature.py") if path.parent.name != "core"]
RESULTS = pytest.StashKey[list[dict[str, Any]]]()
GAPS = pytest.StashKey[list[str]]()

measurement = slipcover.Slipcover(branch=True)
slipcover.ImportManager(measurement, slipcover.FileMatcher(MEASURED)).__enter__()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[RESULTS] = []


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: WorkerController) -> None:
    """Collect what a worker of pytest-xdist has measured, unless it crashed."""
    if "coverage" in getattr(node, "workeroutput", {}):
        node.config.stash[RESULTS].append(json.loads(node.workeroutput["coverage"]))


def pytest_sessionfinish(session: pytest.Session) -> None:
    coverage = measurement.get_coverage()
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["coverage"] = json.dumps(coverage)
        return
    for result in session.config.stash[RESULTS]:
        slipcover.merge_coverage(coverage, result)
    session.config.stash[GAPS] = list(find_gaps(coverage["files"]))
    if session.config.stash[GAPS]:
        session.exitstatus = session.exitstatus or pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if gaps := config.stash[GAPS]:
        terminalreporter.section("not covered by the tests")
        terminalreporter.write_line("\n".join(gaps))


def find_gaps(files: dict[str, dict[str, list[Any]]]) -> Iterator[str]:
    """Yield a line for each file of a feature that isn't covered in full. A branch to line 0 leaves the function."""
    for path in sorted(path for folder in MEASURED for path in folder.rglob("*.py")):
        name = str(path.relative_to(ROOT))
        if name not in files:
            yield f"{name}: no test imports it"
        elif (lines := files[name]["missing_lines"]) or files[name]["missing_branches"]:
            yield f"{name}: lines {lines}, branches {files[name]['missing_branches']}"
