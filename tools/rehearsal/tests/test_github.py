"""GitHub's event filters, and runs of the committed workflow with act that need no image."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.support.api import ROOT
from tools.rehearsal import github
from tools.rehearsal.act import WORKFLOW, Workflow
from tools.rehearsal.checkout import Checkout
from tools.rehearsal.github import Event

ACTIONS = ROOT / "tools" / "rehearsal" / "actions"
FILE: dict[str, Any] = YAML(typ="safe").load((ROOT / WORKFLOW).read_text())
TARGETS = [
    step["run"].removeprefix("make ")
    for step in FILE["jobs"]["build-and-test"]["steps"]
    if step.get("run", "").startswith("make ")
]


# https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-syntax#patterns-to-match-branches-and-tags
@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("feature/*", ["feature/my-branch", "feature/your-branch"], ["feature/a/b", "feature"]),
        ("feature/**", ["feature/beta-a/my-branch", "feature/mona/the/octocat"], ["xfeature/a"]),
        ("main", ["main"], ["main2", "a/main"]),
        ("*", ["main", "releases"], ["all/the/branches"]),
        ("**", ["all/the/branches", "every/tag"], []),
        ("*feature", ["mona-feature", "feature", "ver-10-feature"], ["feature-x"]),
        ("v2*", ["v2", "v2.0", "v2.9"], ["v1"]),
        ("v[12].[0-9]+.[0-9]+", ["v1.10.1", "v2.0.0"], ["v3.0.0"]),
        ("*.jsx?", ["page.js", "page.jsx"], ["page.j"]),
        ("**.js", ["index.js", "js/index.js", "src/js/app.js"], ["index.ts"]),
        ("docs/**/*.md", ["docs/README.md", "docs/mona/hello-world.md", "docs/a/markdown/file.md"], ["a/docs/x.md"]),
        ("**/docs/**", ["docs/hello.md", "dir/docs/my-file.txt", "space/docs/plan/space.doc"], ["docs"]),
        ("**/migrate-*.sql", ["migrate-10909.sql", "db/migrate-v1.0.sql", "db/sept/migrate-v1.sql"], ["migrate.sql"]),
    ],
)
def test_patterns_match_githubs_examples(pattern: str, yes: list[str], no: list[str]) -> None:
    assert [text for text in yes if not github.matches(pattern, text)] == []
    assert [text for text in no if github.matches(pattern, text)] == []


def test_last_matching_pattern_decides() -> None:
    patterns = ["server/**", "!server/docs/**", "server/docs/api.md"]

    assert github.selected(patterns, "server/app.py")
    assert not github.selected(patterns, "server/docs/x.md")
    assert github.selected(patterns, "server/docs/api.md")


SERVER = ["server/audifi/app.py"]


@pytest.mark.parametrize(
    ("event", "starts"),
    [
        (Event(name="push", ref="refs/heads/develop", paths=SERVER), True),
        (Event(name="push", ref="refs/heads/main", paths=["README.md", *SERVER]), True),
        (Event(name="push", ref="refs/heads/feature", paths=SERVER), False),
        (Event(name="push", ref="refs/heads/main-2", paths=SERVER), False),
        (Event(name="push", ref="refs/heads/feature/main", paths=SERVER), False),
        (Event(name="push", ref="refs/tags/main", paths=SERVER), False),
        (Event(name="push", ref="refs/heads/main", paths=["README.md", "docs/deploying.md"]), False),
        (Event(name="push", ref="refs/heads/main", paths=["web/server/x.ts"]), False),
        (Event(name="pull_request", ref="refs/pull/7/merge", base="main", paths=SERVER), True),
        (Event(name="pull_request", ref="refs/pull/7/merge", base="develop", paths=SERVER), True),
        (Event(name="pull_request", ref="refs/pull/7/merge", base="feature", paths=SERVER), False),
        (Event(name="pull_request", ref="refs/pull/7/merge", base="main", paths=["docs/x.md"]), False),
        (Event(name="workflow_dispatch", ref="refs/heads/feature"), True),
        (Event(name="schedule", ref="refs/heads/develop"), True),
        (Event(name="release", ref="refs/heads/main", paths=SERVER), False),
    ],
    ids=lambda value: f"{value.name} {value.base or value.ref} {value.paths}" if isinstance(value, Event) else None,
)
def test_event_starts_the_workflow_by_branch_and_path(event: Event, *, starts: bool) -> None:
    assert github.starts(FILE, event) is starts


@pytest.fixture(scope="module")
def workflow(tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    folder = tmp_path_factory.mktemp("act")
    checkout = Checkout(folder / "checkout")
    return Workflow(checkout.folder, None, folder / "runs", {})


DEVELOP = Event(name="push", ref="refs/heads/develop", paths=SERVER)
MAIN = Event(name="push", ref="refs/heads/main", paths=SERVER)
PULL_REQUEST = Event(name="pull_request", ref="refs/pull/7/merge", base="main", paths=SERVER)


def test_run_installs_no_system_package(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path / "checkout")
    checkout.commit("needs a missing server", checkout.replaced(WORKFLOW, "servers=(", "servers=(no-such-server "))

    run = Workflow(checkout.folder, None, tmp_path / "runs", {}).run(PULL_REQUEST, targets="")

    assert run.succeeded, run.log
    assert "rehearsal: not run: sudo apt-get install" in run.log


@pytest.mark.parametrize("target", TARGETS)
def test_failed_build_and_test_target_prevents_deploys(workflow: Workflow, target: str) -> None:
    run = workflow.run(MAIN, targets="", variables={"REHEARSED_FAILURE": target})

    assert run.status != 0
    assert run.jobs == {"build-and-test": "failure"}
    assert len(run.failed_steps) == 1


@pytest.mark.parametrize("base", ["develop", "main"])
def test_pull_request_deploys_nothing(workflow: Workflow, base: str) -> None:
    run = workflow.run(Event(name="pull_request", ref="refs/pull/7/merge", base=base, paths=SERVER), targets="")

    assert run.succeeded, run.log
    assert run.jobs == {"build-and-test": "success"}


@pytest.mark.parametrize(("event", "job"), [(DEVELOP, "deploy-staging"), (MAIN, "deploy-production")])
def test_deploy_without_a_token_fails_early(workflow: Workflow, event: Event, job: str) -> None:
    run = workflow.run(event, targets="")

    assert run.jobs == {"build-and-test": "success", job: "failure"}
    assert run.failed_steps == ["Check for a deploy token"]
    assert "FLY_API_TOKEN is missing" in run.log


@pytest.mark.parametrize(
    ("event", "secret", "app"),
    [
        (DEVELOP, "FLY_APP_STAGING", "audifi-elsewhere"),
        (MAIN, "FLY_APP_PRODUCTION", "audifi-elsewhere"),
        (DEVELOP, "FLY_APP_PRODUCTION", "audifi-api-staging"),
        (MAIN, "FLY_APP_STAGING", "audifi-api"),
    ],
)
def test_secret_overrides_the_app_of_its_environment(workflow: Workflow, event: Event, secret: str, app: str) -> None:
    run = workflow.run(event, targets="", secrets={secret: "audifi-elsewhere"})

    assert f"add a deploy token of {app} to the secrets" in run.log.replace("***", "audifi-elsewhere")


def test_roll_back_without_a_token_runs_no_other_job(workflow: Workflow) -> None:
    inputs = {"environment": "production", "roll_back_to": "v1"}
    run = workflow.run(Event(name="workflow_dispatch", ref="refs/heads/main", inputs=inputs), targets="")

    assert run.jobs == {"roll-back": "failure"}
    assert "FLY_API_TOKEN is missing" in run.log


def test_push_to_another_branch_starts_no_run(workflow: Workflow) -> None:
    run = workflow.run(Event(name="push", ref="refs/heads/feature", paths=SERVER))

    assert not run.started


def test_second_upload_of_an_artifact_must_overwrite(tmp_path: Path) -> None:
    """As with actions/upload-artifact: the artifact of a run's first attempt is still there in the second."""
    action = YAML(typ="safe").load((ACTIONS / "upload-artifact" / "action.yml").read_text())
    (tmp_path / "image.tar").write_text("image")

    def upload(overwrite: str) -> int:
        variables = {"REHEARSAL_ARTIFACTS": "artifacts", "NAME": "image", "FILE": "image.tar", "OVERWRITE": overwrite}
        command = ["bash", "-eo", "pipefail", "-c", action["runs"]["steps"][0]["run"]]
        return subprocess.run(
            command, cwd=tmp_path, env=variables | {"PATH": os.environ["PATH"]}, check=False
        ).returncode

    assert [upload("true"), upload("true"), upload("false")] == [0, 0, 1]
