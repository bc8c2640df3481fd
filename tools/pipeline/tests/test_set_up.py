"""The documented set-up creates the environments, tokens and databases that the workflow uses."""

import re
from pathlib import Path

from tests.support.api import ROOT
from tools.pipeline.workflow import DEPLOYS, JOBS, evaluate, run

PAGE = (ROOT / "docs" / "deploying.md").read_text()
SET_UP = PAGE[PAGE.index("## First-time set-up") : PAGE.index("### The database")]


def test_environments_are_restricted_to_their_branches(tmp_path: Path) -> None:
    [step] = re.findall(r"^# \d\. The environments .*?(?=^# \d\. )", SET_UP, re.MULTILINE | re.DOTALL)

    done = run(step, tmp_path, fakes="gh")

    assert done.returncode == 0, done.stderr
    calls = (tmp_path / "calls").read_text()
    environments = re.findall(r"^PUT\nrepos/\{owner\}/\{repo\}/environments/(\w+)\n", calls, re.MULTILINE)
    branches = re.findall(r"environments/(\w+)/deployment-branch-policies\n-f\nname=(\w+)$", calls, re.MULTILINE)
    assert environments == [JOBS[job]["environment"]["name"] for job in DEPLOYS]
    for job, (environment, branch) in zip(DEPLOYS, branches, strict=True):
        assert environment == JOBS[job]["environment"]["name"]
        assert evaluate(JOBS[job]["if"], ref=f"refs/heads/{branch}")


def test_tokens_are_set_after_their_environments() -> None:
    for environment in ("staging", "production"):
        assert SET_UP.index("environments/$environment") < SET_UP.index(f"FLY_API_TOKEN --env {environment}")


def test_database_is_managed_postgresql_16() -> None:
    created = re.findall(r"^flyctl (mpg|postgres) create (.*)$", SET_UP, re.MULTILINE)

    assert [kind for kind, _ in created] == ["mpg", "mpg"]
    assert all("--pg-major-version 16" in options for _, options in created)
    assert "\nflyctl postgres create " in PAGE, "the specification's way stays documented"
