"""What the workflow promises, read from its file. The rest of it, a deploy with traffic, takes a rehearsal."""

import importlib.util
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.support.api import ROOT

FILE = ROOT / ".github" / "workflows" / "backend.yml"
TEXT = FILE.read_text()
WORKFLOW: dict[str, Any] = YAML(typ="safe").load(TEXT)
JOBS: dict[str, Any] = WORKFLOW["jobs"]
BUILD = "build-and-test"
DEPLOYS = ["deploy-staging", "deploy-production"]
FLYCTL = re.compile(r"\bflyctl [a-z]")
COMMIT = "1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d"

# Changes to these can't change what is tested or deployed.
UNWATCHED = [
    "README.md",
    "docs/**",
    "bench/**",  # measures, and is run by hand
    ".ci/**",  # starts the same checks elsewhere
    ".gitignore",
]


def matches(pattern: str, path: str) -> bool:
    """GitHub's rules for the patterns in use: `**` stands for anything, `*` for anything but a slash."""
    assert not set(pattern) & set("?+[]!\\"), "teach this function the pattern's characters first"
    parts = {"**": ".*", "*": "[^/]*"}
    return bool(re.fullmatch("".join(parts.get(p, re.escape(p)) for p in re.split(r"(\*\*|\*)", pattern)), path))


def starts(path: str) -> bool:
    return any(matches(pattern, path) for pattern in WORKFLOW["on"]["push"]["paths"])


def evaluate(expression: str, *, event: str, ref: str) -> Any:
    """The value of an expression, of those that compare what `github` says."""
    bare = expression.removeprefix("${{").removesuffix("}}").strip()
    python = bare.replace("&&", " and ").replace("||", " or ")
    assert re.fullmatch(r"[\w\s.=!'/()]*", python)
    return eval(python, {"github": SimpleNamespace(event_name=event, ref=ref)})  # noqa: S307 - our own file


def tracked_files() -> list[str]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode == 0:
        return listed.stdout.splitlines()
    ignored = {".git"} | {line.strip("/") for line in (ROOT / ".gitignore").read_text().splitlines()}
    paths = [path.relative_to(ROOT) for path in ROOT.rglob("*") if path.is_file()]
    return [str(path) for path in paths if not ignored & set(path.parts)]


def steps(*jobs: str) -> Iterator[dict[str, Any]]:
    for job in jobs or JOBS:
        yield from JOBS[job]["steps"]


def step(job: str, **properties: str) -> dict[str, Any]:
    """The one step of a job that has these properties."""
    (found,) = [s for s in JOBS[job]["steps"] if properties.items() <= s.items()]
    return dict(found)


def step_running(job: str, words: str) -> dict[str, Any]:
    (found,) = [s for s in JOBS[job]["steps"] if words in s.get("run", "")]
    return dict(found)


def run(script: str, folder: Path, *, fakes: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a step's script as the runner does. A fake program appends its name and arguments to `calls`, a line each."""
    for name in fakes.split():
        program = folder / name
        program.write_text(f'#!/bin/bash\nprintf "%s\\n" {name} "$@" >> {folder}/calls\nexit "${{FAKE_STATUS:-0}}"\n')
        program.chmod(0o755)
    file = folder / "step.sh"
    file.write_text(script)
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", file],
        env={"PATH": f"{folder}:{os.environ['PATH']}", "GITHUB_SHA": COMMIT, "FLY_APP": "an-app"} | variables,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


# What starts it


def test_pull_requests_and_pushes_to_develop_and_main_start_it_and_a_person_can() -> None:
    assert set(WORKFLOW["on"]) == {"pull_request", "push", "workflow_dispatch"}
    assert WORKFLOW["on"]["pull_request"]["branches"] == ["develop", "main"]
    assert WORKFLOW["on"]["push"]["branches"] == ["develop", "main"]
    assert WORKFLOW["on"]["workflow_dispatch"] is None


def test_pull_requests_are_held_to_the_same_paths_as_pushes() -> None:
    assert WORKFLOW["on"]["pull_request"] == WORKFLOW["on"]["push"]


@pytest.mark.parametrize(
    "path",
    [
        "server/fly.toml",
        "server/audifi/core/settings.py",
        "server/.dockerignore",
        ".github/workflows/backend.yml",
        ".github/scripts/await_release.py",
        "tests/conftest.py",
        "dev/lint-pipeline",
        "Makefile",
    ],
)
def test_a_change_to_the_server_or_its_tests_starts_it(path: str) -> None:
    assert starts(path)


@pytest.mark.parametrize(
    "path",
    [
        "README.md",
        "docs/pipeline.md",
        "src/server/page.tsx",
        "servers/x.py",
        "server",
        ".github/workflows/frontend.yml",
        "web/Makefile",
        "xpython-version",
    ],
)
def test_a_change_elsewhere_starts_nothing(path: str) -> None:
    assert not starts(path)


def test_every_file_is_watched_or_known_not_to_matter() -> None:
    strays = [path for path in tracked_files() if not starts(path) and not any(matches(u, path) for u in UNWATCHED)]

    assert strays == [], "add them to the workflow's paths (both lists), or to UNWATCHED with a reason"


def test_every_watched_path_is_there() -> None:
    assert [pattern for pattern in WORKFLOW["on"]["push"]["paths"] if not any(ROOT.glob(pattern))] == []


# Which jobs run


def test_the_jobs_are_named_as_specified() -> None:
    assert {key: job["name"] for key, job in JOBS.items()} == {
        "build-and-test": "Build & Test",
        "deploy-staging": "Deploy Staging (Fly.io)",
        "deploy-production": "Deploy Production (Fly.io)",
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
def test_each_branch_deploys_to_its_own_environment_and_to_no_other(event: str, ref: str, deploys: set[str]) -> None:
    assert {job for job in JOBS if evaluate(JOBS[job].get("if", "True"), event=event, ref=ref)} == {BUILD} | deploys


@pytest.mark.parametrize("job", DEPLOYS)
def test_a_deploy_needs_build_and_test_alone(job: str) -> None:
    assert JOBS[job]["needs"] == BUILD


def test_build_and_test_passes_only_when_each_of_its_steps_does() -> None:
    assert "needs" not in JOBS[BUILD]
    assert "continue-on-error" not in JOBS[BUILD]
    for each in steps(BUILD):
        assert not {"if", "continue-on-error"} & set(each)
        assert not re.search(r"\|\| *(true|:)", each.get("run", ""))


def test_it_installs_lints_checks_types_tests_and_builds_in_this_order() -> None:
    commands = [each["run"] for each in steps(BUILD) if each.get("run", "").startswith("make ")]

    assert commands == [
        "make setup",
        "make lint",
        "make types",
        "make test",
        "make test-slow",
        "make coverage",
        "make test-image",
    ]
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {command.removeprefix("make ") for command in commands} <= targets


def test_the_python_is_the_one_that_everything_else_names() -> None:
    (setup,) = [each for each in steps() if "actions/setup-python" in each.get("uses", "")]

    assert setup["with"] == {"python-version-file": ".python-version"}


def test_pgbouncer_is_installed_where_it_is_missing_before_the_tests_that_need_it(tmp_path: Path) -> None:
    install = step_running(BUILD, "pgbouncer")
    order = [each.get("run", "") for each in steps(BUILD)]

    done = run(install["run"], tmp_path, fakes="sudo", PATH=f"{tmp_path}:/bin")

    assert done.returncode == 0, done.stderr
    if "pgbouncer" not in done.stdout:
        assert "install" in (tmp_path / "calls").read_text()
    assert order.index(install["run"]) < order.index("make test")


# One at a time


def test_only_a_pull_requests_older_run_is_cancelled() -> None:
    concurrency = WORKFLOW["concurrency"]

    assert evaluate(concurrency["cancel-in-progress"], event="pull_request", ref="refs/pull/7/merge") is True
    for event in ("push", "workflow_dispatch"):
        assert evaluate(concurrency["cancel-in-progress"], event=event, ref="refs/heads/main") is False


def test_runs_of_one_branch_queue_up_and_those_of_others_do_not() -> None:
    assert WORKFLOW["concurrency"]["group"] == "backend-${{ github.ref }}"


def test_one_deploy_at_a_time_to_each_environment_and_none_is_cancelled() -> None:
    groups = [JOBS[job]["concurrency"]["group"] for job in DEPLOYS]

    assert groups == ["deploy-staging", "deploy-production"]
    assert [JOBS[job]["concurrency"]["cancel-in-progress"] for job in DEPLOYS] == [False, False]
    assert all("concurrency" not in JOBS[job] for job in JOBS if job not in DEPLOYS)


def test_every_job_and_every_wait_has_a_time_limit() -> None:
    for job in JOBS.values():
        assert 0 < job["timeout-minutes"] <= 60
    for job in DEPLOYS:
        limits = [each["timeout-minutes"] for each in steps(job) if "timeout-minutes" in each]
        # A job's own limit would cancel a deploy half-way, without a word about the app's state.
        assert sum(limits) + 5 <= JOBS[job]["timeout-minutes"]


@pytest.mark.parametrize("job", DEPLOYS)
def test_the_deploy_step_may_take_as_long_as_fly_toml_lets_flyctl_take(job: str) -> None:
    fly = tomllib.loads((ROOT / "server" / "fly.toml").read_text())["deploy"]
    release, wait = (int(fly[key].removesuffix("m")) for key in ("release_command_timeout", "wait_timeout"))
    build = 10

    # flyctl waits that long for each of: started, healthy, old machines stopped.
    assert step(job, id="deploy")["timeout-minutes"] >= build + release + 3 * wait


# Rights


def test_the_token_of_every_job_can_read_the_code_and_nothing_else() -> None:
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert all("permissions" not in job for job in JOBS.values())


def test_actions_are_pinned_to_a_commit_with_the_version_beside_it() -> None:
    lines = re.findall(r"^ *- uses: (.*)$", TEXT, re.MULTILINE)

    assert len(lines) == len([each for each in steps() if "uses" in each])
    for line in lines:
        assert re.fullmatch(r"[\w.-]+(/[\w.-]+)+@[0-9a-f]{40} # v?\d+(\.\d+)+", line), line


def test_an_action_has_the_same_version_everywhere() -> None:
    pins = set(re.findall(r"uses: (\S+)@(.*)$", TEXT, re.MULTILINE))

    assert len(pins) == len({action for action, _ in pins})


def test_the_checkout_leaves_no_credentials() -> None:
    checkouts = [each for each in steps() if each.get("uses", "").startswith("actions/checkout@")]

    assert len(checkouts) == len(JOBS)
    assert all(each["with"]["persist-credentials"] is False for each in checkouts)


def test_nothing_of_an_earlier_run_gets_into_this_one() -> None:
    for each in steps():
        assert "cache" not in each.get("uses", "")
        assert not [name for name in each.get("with", {}) if "cache" in name]


def test_no_expression_is_pasted_into_a_script() -> None:
    assert [each["run"] for each in steps() if "${{" in each.get("run", "")] == []


def test_scripts_run_in_bash_and_fail_with_any_part_of_a_pipe() -> None:
    assert WORKFLOW["defaults"] == {"run": {"shell": "bash"}}
    assert all("shell" not in each for each in steps())


def test_build_and_test_gets_no_secret() -> None:
    assert "secrets." not in str(JOBS[BUILD])
    assert "secrets." not in str({key: value for key, value in WORKFLOW.items() if key != "jobs"})


@pytest.mark.parametrize("job", DEPLOYS)
def test_the_deploy_token_goes_to_flyctl_alone(job: str) -> None:
    assert "FLY_API_TOKEN" not in JOBS[job]["env"]
    holders = [each for each in steps(job) if "FLY_API_TOKEN" in str(each.get("env", {}))]
    for each in holders:
        assert each["env"] == {"FLY_API_TOKEN": "${{ secrets.FLY_API_TOKEN }}"}
        assert FLYCTL.search(each["run"]) or "FLY_API_TOKEN is missing" in each["run"]
    assert [each for each in steps(job) if FLYCTL.search(each.get("run", "")) and each not in holders] == []


# The deploys


def test_the_two_deploys_differ_in_names_alone() -> None:
    staging = str(JOBS["deploy-staging"])
    for there, here in [
        ("Deploy Staging", "Deploy Production"),
        ("refs/heads/develop", "refs/heads/main"),
        ("'name': 'staging'", "'name': 'production'"),
        ("deploy-staging", "deploy-production"),
        ("FLY_APP_STAGING", "FLY_APP_PRODUCTION"),
        ("audifi-api-staging", "audifi-api"),
    ]:
        assert there in staging
        staging = staging.replace(there, here)

    assert staging == str(JOBS["deploy-production"])


@pytest.mark.parametrize(
    ("job", "environment", "secret", "app"),
    [
        ("deploy-staging", "staging", "FLY_APP_STAGING", "audifi-api-staging"),
        ("deploy-production", "production", "FLY_APP_PRODUCTION", "audifi-api"),
    ],
)
def test_each_deploy_has_its_environment_url_and_app(job: str, environment: str, secret: str, app: str) -> None:
    assert JOBS[job]["environment"] == {"name": environment, "url": f"https://{app}.fly.dev"}
    assert JOBS[job]["env"] == {"FLY_APP": f"${{{{ secrets.{secret} || '{app}' }}}}"}


@pytest.mark.parametrize("job", DEPLOYS)
def test_a_missing_token_fails_early_with_a_sentence(job: str, tmp_path: Path) -> None:
    check = step_running(job, "FLY_API_TOKEN is missing")

    without = run(check["run"], tmp_path, FLY_API_TOKEN="")
    with_one = run(check["run"], tmp_path, FLY_API_TOKEN="a token")

    assert (without.returncode, without.stderr) == (1, "")
    assert without.stdout.startswith("::error::FLY_API_TOKEN is missing")
    assert (with_one.returncode, with_one.stdout + with_one.stderr) == (0, "")
    order = [each.get("run") or each["uses"] for each in steps(job)]
    assert order.index(check["run"]) == 1, "only the checkout comes before, with the script that writes the summary"


@pytest.mark.parametrize("job", DEPLOYS)
def test_flyctl_is_of_a_known_version(job: str) -> None:
    (setup,) = [each for each in steps(job) if "setup-flyctl" in each.get("uses", "")]

    assert re.fullmatch(r"\d+\.\d+\.\d+", setup["with"]["version"])


@pytest.mark.parametrize("job", DEPLOYS)
def test_flyctl_deploys_the_folder_server_to_the_named_app_with_the_commit(job: str, tmp_path: Path) -> None:
    deploy = step(job, id="deploy")
    done = run(deploy["run"], tmp_path, fakes="flyctl")

    assert done.returncode == 0
    assert deploy["working-directory"] == "server"
    assert (tmp_path / "calls").read_text().splitlines() == [
        *["flyctl", "deploy", "--remote-only", "--app", "an-app"],
        *["--image-label", COMMIT, "--build-arg", f"COMMIT={COMMIT}", "--yes"],
    ]


@pytest.mark.parametrize("job", DEPLOYS)
def test_a_flyctl_that_fails_is_seen_to_fail(job: str, tmp_path: Path) -> None:
    assert run(step(job, id="deploy")["run"], tmp_path, fakes="flyctl", FAKE_STATUS="1").returncode == 1


@pytest.fixture(scope="module")
def await_release() -> ModuleType:
    spec = importlib.util.spec_from_file_location("await_release", ROOT / ".github" / "scripts" / "await_release.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look it up
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("job", DEPLOYS)
def test_the_commit_served_decides_and_knows_how_flyctl_ended(
    job: str, tmp_path: Path, await_release: ModuleType
) -> None:
    judge = step_running(job, "await_release.py await")
    assert judge["env"] == {
        "BEFORE": "${{ steps.before.outputs.version }}",
        "FLYCTL": "${{ steps.deploy.outcome }}",
    }
    done = run(judge["run"], tmp_path, fakes="python3", BEFORE="0.1.0+0ddba11", FLYCTL="failure")
    name, script, *arguments = (tmp_path / "calls").read_text().splitlines()

    assert (done.returncode, name, script) == (0, "python3", ".github/scripts/await_release.py")
    options = vars(await_release.parse(arguments))
    assert options["url"] == "https://an-app.fly.dev"
    assert options["commit"] == COMMIT
    assert (options["flyctl"], options["before"]) == ("failure", "0.1.0+0ddba11")
    # The script's requests end within its own time; the step's is for what nobody has thought of.
    assert options["timeout"] + 60 <= judge["timeout-minutes"] * 60
    assert options["answers"] >= 3


@pytest.mark.parametrize("job", DEPLOYS)
def test_only_flyctls_failure_is_left_to_the_judge_and_the_judges_ends_the_run(job: str) -> None:
    forgiven = [each for each in steps(job) if "continue-on-error" in each]
    judge = step_running(job, "await_release.py await")

    assert forgiven == [step(job, id="deploy")]
    assert judge["if"] == "always()", "or there is no summary of a deploy that failed"
    assert steps_before(job, judge)[-1] == step(job, id="deploy")


@pytest.mark.parametrize("job", DEPLOYS)
def test_what_served_before_is_noted_before_the_deploy(job: str, tmp_path: Path) -> None:
    before = step(job, id="before")
    done = run(before["run"], tmp_path, fakes="python3", GITHUB_OUTPUT=str(tmp_path / "output"))

    assert done.returncode == 0
    assert (tmp_path / "calls").read_text().splitlines() == [
        *["python3", ".github/scripts/await_release.py", "now", "https://an-app.fly.dev"]
    ]
    assert (tmp_path / "output").exists()
    assert before in steps_before(job, step(job, id="deploy"))


@pytest.mark.parametrize("job", DEPLOYS)
def test_a_failed_deploy_shows_the_apps_status_and_logs_whatever_flyctl_says(job: str, tmp_path: Path) -> None:
    show = step_running(job, "flyctl status")
    done = run(show["run"], tmp_path, fakes="flyctl", FAKE_STATUS="1")

    assert done.returncode == 0
    assert (tmp_path / "calls").read_text().splitlines() == [
        *["flyctl", "status", "--app", "an-app"],
        *["flyctl", "logs", "--app", "an-app", "--no-tail"],
    ]
    assert all(line.startswith("timeout ") for line in show["run"].strip().splitlines())
    assert show["if"] == "steps.deploy.outcome == 'failure' || (failure() && steps.deploy.outcome == 'success')"


def steps_before(job: str, later: dict[str, Any]) -> list[dict[str, Any]]:
    return JOBS[job]["steps"][: JOBS[job]["steps"].index(later)]  # type: ignore[no-any-return]


def test_every_flyctl_command_names_its_app() -> None:
    lines = [line for each in steps() for line in each.get("run", "").replace("\\\n", " ").splitlines()]
    commands = [line for line in lines if FLYCTL.search(line)]

    assert len(commands) == 3 * len(DEPLOYS)
    for command in commands:
        words = shlex.split(command)
        assert words[words.index("--app") + 1] == "$FLY_APP"
