"""Triggers, tests and permissions of the workflow; test_workflow_deploys.py tests its deploys."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.api import ROOT
from tools.pipeline.workflow import (
    BUILD,
    DEPLOYS,
    FLY_JOBS,
    JOBS,
    REBUILD,
    ROLL_BACK,
    RUN_ID,
    TEXT,
    WORKFLOW,
    evaluate,
    expand,
    run,
    step_running,
    steps,
)

# Changes to these can't change what is tested or deployed.
UNWATCHED = [
    "README.md",
    "docs/**",
    "tools/bench/**",  # run by hand
    ".ci/**",  # runs the same checks on another CI service
    ".gitignore",
]


def matches(pattern: str, path: str) -> bool:
    """Match a path as GitHub does: `**` matches any characters, `*` any except a slash."""
    assert not set(pattern) & set("?+[]!\\"), "matches() doesn't support these characters"
    parts = {"**": ".*", "*": "[^/]*"}
    return bool(re.fullmatch("".join(parts.get(p, re.escape(p)) for p in re.split(r"(\*\*|\*)", pattern)), path))


def starts(path: str) -> bool:
    return any(matches(pattern, path) for pattern in WORKFLOW["on"]["push"]["paths"])


def tracked_files() -> list[str]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode == 0:
        return listed.stdout.splitlines()
    ignored = {".git"} | {line.strip("/") for line in (ROOT / ".gitignore").read_text().splitlines()}
    paths = [path.relative_to(ROOT) for path in ROOT.rglob("*") if path.is_file()]
    return [str(path) for path in paths if not ignored & set(path.parts)]


# Triggers


def test_manual_run_may_roll_back_and_deploys_by_default() -> None:
    inputs: dict[str, Any] = WORKFLOW["on"]["workflow_dispatch"]["inputs"]

    assert {name: {**each, "description": ""} for name, each in inputs.items()} == {
        "roll_back_to": {"description": "", "type": "string", "default": ""},
        "environment": {
            "description": "",
            "type": "choice",
            "options": ["staging", "production"],
            "default": "staging",
        },
        "force": {"description": "", "type": "boolean", "default": False},
        "bake_seconds": {"description": "", "type": "string", "default": ""},
    }
    assert all(each["description"] for each in inputs.values())


def test_pull_requests_and_pushes_have_the_same_paths() -> None:
    assert WORKFLOW["on"]["pull_request"] == WORKFLOW["on"]["push"]


def test_every_file_is_watched_or_listed_as_unwatched() -> None:
    strays = [path for path in tracked_files() if not starts(path) and not any(matches(u, path) for u in UNWATCHED)]

    assert strays == [], "add them to the workflow's paths (both lists), or to UNWATCHED with a reason"


def test_every_watched_path_exists() -> None:
    assert [pattern for pattern in WORKFLOW["on"]["push"]["paths"] if not any(ROOT.glob(pattern))] == []


# Jobs


def test_jobs_are_named_as_specified() -> None:
    assert {key: job["name"] for key, job in JOBS.items()} == {
        "rebuild": "Rebuild Weekly",
        "build-and-test": "Build & Test",
        "deploy-staging": "Deploy Staging (Fly.io)",
        "deploy-production": "Deploy Production (Fly.io)",
        "roll-back": "Roll Back (Fly.io)",
    }


@pytest.mark.parametrize(
    ("event", "ref", "deploys"),
    [
        ("push", "refs/heads/develop", {"deploy-staging"}),
        ("push", "refs/heads/main", {"deploy-production"}),
        ("workflow_dispatch", "refs/heads/develop", {"deploy-staging"}),
        ("workflow_dispatch", "refs/heads/main", {"deploy-production"}),
        ("workflow_dispatch", "refs/heads/feature", set()),
        ("workflow_dispatch", "refs/tags/main", set()),
        ("pull_request", "refs/pull/7/merge", set()),
        ("pull_request", "refs/heads/main", set()),
        ("pull_request", "refs/heads/develop", set()),
    ],
)
def test_branch_deploys_to_its_own_environment_only(event: str, ref: str, deploys: set[str]) -> None:
    assert jobs_of(event, ref, {}) == {BUILD} | deploys
    if event == "workflow_dispatch":
        for environment in ("staging", "production"):
            assert jobs_of(event, ref, {"roll_back_to": "", "environment": environment}) == {BUILD} | deploys


@pytest.mark.parametrize("ref", ["refs/heads/develop", "refs/heads/main", "refs/heads/feature"])
@pytest.mark.parametrize("environment", ["staging", "production"])
def test_roll_back_run_has_no_other_job(ref: str, environment: str) -> None:
    inputs = {"roll_back_to": "v12", "environment": environment}

    assert jobs_of("workflow_dispatch", ref, inputs) == {ROLL_BACK}


def jobs_of(event: str, ref: str, inputs: dict[str, str]) -> set[str]:
    """Return the jobs that run; a job is skipped if a job that it needs is."""
    wanted = {job for job in JOBS if evaluate(JOBS[job]["if"], event=event, ref=ref, inputs=inputs)}
    return {job for job in wanted if JOBS[job].get("needs") in wanted | {None}}


# Weekly


@pytest.mark.parametrize("default_branch", ["refs/heads/develop", "refs/heads/main"])
def test_schedule_only_starts_other_runs(default_branch: str) -> None:
    """Schedules run on the default branch only, and must not deploy that branch twice."""
    assert jobs_of("schedule", default_branch, {}) == {REBUILD}


def test_schedule_starts_a_run_of_each_branch(tmp_path: Path) -> None:
    (start,) = steps(REBUILD)
    branches = [
        evaluate(start["env"]["BRANCH"], event="schedule", schedule=each["cron"]) for each in WORKFLOW["on"]["schedule"]
    ]
    assert branches == ["develop", "main"]

    done = run(start["run"], tmp_path, fakes="gh", BRANCH="main", GITHUB_REPOSITORY="audifi/audifi")

    assert done.returncode == 0
    called = (tmp_path / "calls").read_text().splitlines()
    assert called == "gh workflow run backend.yml --repo audifi/audifi --ref main".split()
    assert jobs_of("workflow_dispatch", "refs/heads/main", {}) == {BUILD, "deploy-production"}


def test_rebuild_may_start_runs_and_nothing_else() -> None:
    (start,) = steps(REBUILD)

    assert JOBS[REBUILD]["permissions"] == {"actions": "write"}
    assert start["env"]["GH_TOKEN"] == "${{ github.token }}"


def test_weekly_runs_are_a_day_apart_staging_first() -> None:
    days = [each["cron"].split() for each in WORKFLOW["on"]["schedule"]]

    assert [fields[2:4] for fields in days] == [["*", "*"]] * 2
    assert [int(fields[4]) for fields in days] == [2, 3]


# The runner


def test_every_job_names_its_runner_image() -> None:
    """`ubuntu-latest` moves (actions/runner-images#14748)."""
    assert {job["runs-on"] for job in JOBS.values()} == {"ubuntu-26.04"}


def test_build_checks_out_the_full_history() -> None:
    (checkout,) = [each for each in steps(BUILD) if "actions/checkout" in each.get("uses", "")]

    assert checkout["with"]["fetch-depth"] == 0


def test_tested_image_is_uploaded_except_for_pull_requests() -> None:
    *_, archive, upload = steps(BUILD)

    assert archive["run"] == "make image-archive"
    assert upload["uses"].startswith("actions/upload-artifact@")
    for each in (archive, upload):
        for event in ("push", "workflow_dispatch"):
            assert evaluate(each["if"], event=event, inputs={"roll_back_to": "", "environment": "staging"})
        assert not evaluate(each["if"], event="pull_request", ref="refs/pull/7/merge")
    assert upload["with"] == {
        "name": "image",
        "path": "image.tar",
        "if-no-files-found": "error",
        "overwrite": True,  # otherwise "Re-run all jobs" gets 409 for the artifact of the first attempt
        "retention-days": 3,
    }
    assert "save image.tar\n" in (ROOT / "Makefile").read_text()


def test_python_is_that_of_the_version_file() -> None:
    (setup,) = [each for each in steps() if "actions/setup-python" in each.get("uses", "")]

    assert setup["with"] == {"python-version-file": ".python-version"}


@pytest.mark.parametrize("missing", ["pgbouncer", "haproxy", "docker-registry", None])
def test_missing_servers_are_installed_before_the_tests(tmp_path: Path, missing: str | None) -> None:
    servers = {"pgbouncer", "haproxy", "docker-registry", "prometheus"}
    install = step_running(BUILD, "pgbouncer")
    order = [each.get("run", "") for each in steps(BUILD)]
    (tmp_path / "bash").symlink_to("/bin/bash")

    done = run(install["run"], tmp_path, fakes=" ".join(["sudo", *sorted(servers - {missing})]), PATH=str(tmp_path))

    assert done.returncode == 0, done.stderr
    called = (tmp_path / "calls").read_text() if (tmp_path / "calls").exists() else ""
    assert ("install" in called) == (missing is not None)
    assert all(server in called for server in servers) or not missing
    assert order.index(install["run"]) < order.index("make test")


# Concurrency


def test_only_superseded_pull_request_runs_are_cancelled() -> None:
    concurrency = WORKFLOW["concurrency"]

    assert evaluate(concurrency["cancel-in-progress"], event="pull_request", ref="refs/pull/7/merge") is True
    for event in ("push", "workflow_dispatch"):
        assert evaluate(concurrency["cancel-in-progress"], event=event, ref="refs/heads/main") is False


def test_only_pull_requests_share_a_concurrency_group() -> None:
    """In a shared group, a run that waits for a reviewer would cause later pushes to be dropped."""
    group = WORKFLOW["concurrency"]["group"]

    assert evaluate(group, event="pull_request", ref="refs/pull/7/merge") == "backend-refs/pull/7/merge"
    for event in ("push", "workflow_dispatch"):
        for inputs in ({}, {"roll_back_to": "v12", "environment": "production"}):
            assert evaluate(group, event=event, inputs=inputs) == RUN_ID


def test_deploys_to_one_environment_are_queued() -> None:
    def group(job: str, environment: str = "") -> str:
        return expand(JOBS[job]["concurrency"]["group"], inputs={"roll_back_to": "v1", "environment": environment})

    assert [group(job) for job in DEPLOYS] == ["deploy-staging", "deploy-production"]
    assert [group(ROLL_BACK, each) for each in ("staging", "production")] == ["deploy-staging", "deploy-production"]
    assert [JOBS[job]["concurrency"]["cancel-in-progress"] for job in FLY_JOBS] == [False] * 3
    assert [JOBS[job]["concurrency"]["queue"] for job in FLY_JOBS] == [
        "max"
    ] * 3  # otherwise a later run replaces a waiting one
    assert "concurrency" not in JOBS[BUILD]


# Permissions


def test_job_tokens_can_only_read_the_code() -> None:
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert [key for key, job in JOBS.items() if "permissions" in job] == [REBUILD]


def test_actions_are_pinned_to_a_commit_with_a_version() -> None:
    lines = re.findall(r"^ *- uses: (.*)$", TEXT, re.MULTILINE)

    assert len(lines) == len([each for each in steps() if "uses" in each])
    for line in lines:
        assert re.fullmatch(r"[\w.-]+(/[\w.-]+)+@[0-9a-f]{40} # v?\d+(\.\d+)+", line), line


def test_action_has_the_same_version_everywhere() -> None:
    pins = set(re.findall(r"uses: (\S+)@(.*)$", TEXT, re.MULTILINE))

    assert len(pins) == len({action for action, _ in pins})


def test_checkout_persists_no_credentials() -> None:
    checkouts = [each for each in steps() if each.get("uses", "").startswith("actions/checkout@")]

    assert len(checkouts) == len(JOBS) - 1  # the rebuild job needs no code
    assert all(each["with"]["persist-credentials"] is False for each in checkouts)


def test_no_step_uses_a_cache() -> None:
    for each in steps():
        assert "cache" not in each.get("uses", "")
        assert not [name for name in each.get("with", {}) if "cache" in name]


def test_scripts_contain_no_expressions() -> None:
    assert [each["run"] for each in steps() if "${{" in each.get("run", "")] == []


def test_scripts_run_in_bash_with_pipefail() -> None:
    assert WORKFLOW["defaults"] == {"run": {"shell": "bash"}}
    assert all("shell" not in each for each in steps())


def test_build_and_test_gets_no_secret() -> None:
    assert "secrets." not in str(JOBS[BUILD])
    assert "secrets." not in str({key: value for key, value in WORKFLOW.items() if key != "jobs"})
