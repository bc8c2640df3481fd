"""The deploy and roll-back jobs of the workflow file. The rehearsal runs them, under traffic."""

import argparse
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

import options as command_line
import time_limits
from tests.support.api import ROOT
from tools.pipeline.workflow import (
    COMMIT,
    DEPLOYS,
    FLY_JOBS,
    JOBS,
    ROLL_BACK,
    evaluate,
    expand,
    run,
    step_running,
    steps,
)

TOKEN = {"FLY_API_TOKEN": "${{ secrets.FLY_API_TOKEN }}"}
APPS = {"staging": "audifi-api-staging", "production": "audifi-api"}
each_fly_job = pytest.mark.parametrize("job", FLY_JOBS)
each_deploy = pytest.mark.parametrize("job", DEPLOYS)


def calls(folder: Path) -> list[str]:
    """Return the names and arguments of all calls of fake programs."""
    return (folder / "calls").read_text().splitlines()


def called(job: str, folder: Path, **variables: str) -> tuple[dict[str, Any], argparse.Namespace]:
    """Run the step that starts deploy.py; return the step and the parsed arguments."""
    step = step_running(job, "deploy.py")
    done = run(step["run"], folder, fakes="python3", **{"BAKE_SECONDS": "120", "FORCE": ""} | variables)
    assert done.returncode == 0, done.stderr
    name, file, *arguments = calls(folder)
    assert (name, file) == ("python3", ".github/scripts/deploy.py")
    return step, command_line.parse(arguments)


# The steps


@each_fly_job
def test_flyctl_version_is_pinned(job: str) -> None:
    (setup,) = [each for each in steps(job) if "setup-flyctl" in each.get("uses", "")]

    assert re.fullmatch(r"\d+\.\d+\.\d+", setup["with"]["version"])


@each_deploy
def test_failed_image_push_fails_the_step(job: str, tmp_path: Path) -> None:
    push = step_running(job, "skopeo")["run"]

    assert run(push, tmp_path, fakes="flyctl skopeo", FAKE_STATUS="1").returncode == 1
    assert calls(tmp_path) == ["flyctl", "auth", "docker"]
    run("true", tmp_path, fakes="flyctl")
    (tmp_path / "skopeo").write_text("#!/bin/sh\nexit 3\n")
    assert run(push, tmp_path).returncode == 3


@each_deploy
def test_script_deploys_the_commit_to_the_app(job: str, tmp_path: Path) -> None:
    step, options = called(job, tmp_path)

    assert step["env"] == TOKEN | {
        "BAKE_SECONDS": "${{ inputs.bake_seconds || vars.BAKE_SECONDS || '120' }}",
        "FORCE": "${{ inputs.force }}",
    }
    assert (options.command, options.app, options.release) == ("deploy", "an-app", COMMIT)


@each_deploy
@pytest.mark.parametrize(("force", "forces"), [("true", True), ("false", False), ("", False)])
def test_deploy_is_forced_only_by_the_input(job: str, tmp_path: Path, force: str, *, forces: bool) -> None:
    _, options = called(job, tmp_path, FORCE=force)

    assert options.force is forces


@each_deploy
@pytest.mark.parametrize(
    ("inputs", "variables", "seconds"),
    [({}, {}, 120), ({}, {"BAKE_SECONDS": "30"}, 30), ({"bake_seconds": "600"}, {"BAKE_SECONDS": "30"}, 600)],
)
def test_bake_time_is_input_or_variable_or_2_minutes(
    job: str, tmp_path: Path, inputs: dict[str, str], variables: dict[str, str], seconds: int
) -> None:
    value = evaluate(step_running(job, "deploy.py")["env"]["BAKE_SECONDS"], inputs=inputs, variables=variables)
    _, options = called(job, tmp_path, BAKE_SECONDS=value)

    assert options.bake == seconds


@each_deploy
def test_deploy_checks_out_the_full_history(job: str) -> None:
    (checkout,) = [each for each in steps(job) if "actions/checkout" in each.get("uses", "")]

    assert checkout["with"]["fetch-depth"] == 0


@pytest.mark.parametrize("release", ["v12", "0ddba11", "--help", "", "; false", "$(false)"])
def test_script_rolls_back_to_the_input(tmp_path: Path, release: str) -> None:
    step, options = called(ROLL_BACK, tmp_path, ROLL_BACK_TO=release)

    assert step["env"] == TOKEN | {"ROLL_BACK_TO": "${{ inputs.roll_back_to }}"}
    assert (options.command, options.app, options.release) == ("roll-back", "an-app", release)


@each_fly_job
def test_workflow_keeps_the_scripts_defaults(job: str, tmp_path: Path) -> None:
    _, options = called(job, tmp_path, ROLL_BACK_TO="v12")

    defaults = command_line.parse(["roll-back", "an-app", "v12"])
    for name in ("url", "patience", "interval", "answers", "time_limit"):
        assert getattr(options, name) == getattr(defaults, name)


@each_fly_job
def test_script_replaces_the_shell_to_receive_signals(job: str) -> None:
    *_, last = step_running(job, "deploy.py")["run"].strip().splitlines()
    assert last.strip().startswith("exec python3 ")


# Time limits


def test_time_limits_match_fly_toml() -> None:
    fly = tomllib.loads((ROOT / "server" / "fly.toml").read_text())["deploy"]
    wait, release = (60 * int(fly[key].removesuffix("m")) for key in ("wait_timeout", "release_command_timeout"))

    assert (wait, release) == (time_limits.WAIT_TIMEOUT, time_limits.RELEASE_COMMAND_TIMEOUT)


def test_flyctl_time_limit_covers_all_of_its_waits() -> None:
    wait, release = time_limits.WAIT_TIMEOUT, time_limits.RELEASE_COMMAND_TIMEOUT

    # Release machine: created, started, ended, exit event. Green machines: started, healthy. Blue machines: stopped.
    assert 5 * wait + 2 * release < time_limits.DEPLOY_SECONDS
    assert 3 * wait < time_limits.PUT_BACK_SECONDS
    assert command_line.parse(["deploy", "an-app", COMMIT]).time_limit == time_limits.DEPLOY_SECONDS


@each_fly_job
def test_job_timeout_exceeds_the_scripts_time_limits(job: str) -> None:
    """A job timeout would end the script without a report."""
    longest = time_limits.LONGEST_DEPLOY_SECONDS if job in DEPLOYS else time_limits.LONGEST_ROLL_BACK_SECONDS
    before = sum(each.get("timeout-minutes", 1) for each in steps(job))

    assert "timeout-minutes" not in step_running(job, "deploy.py")
    assert longest / 60 + before <= JOBS[job]["timeout-minutes"] <= longest / 60 + before + 30


def test_time_limits_are_for_the_installed_flyctl() -> None:
    versions = {each["with"]["version"] for each in steps(*FLY_JOBS) if "setup-flyctl" in each.get("uses", "")}

    assert versions == {"0.4.87"}
    assert "flyctl v0.4.87" in " ".join(str(time_limits.__doc__).split())


def test_image_push_has_a_timeout() -> None:
    assert all(step_running(job, "skopeo")["timeout-minutes"] <= 15 for job in DEPLOYS)


# Names


def test_deploy_jobs_differ_only_in_names() -> None:
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


@each_fly_job
def test_roll_back_shares_its_first_steps_with_deploys(job: str) -> None:
    (checkout, *others), (its_checkout, *its_others) = list(steps(job))[:3], list(steps(ROLL_BACK))[:3]

    assert checkout["uses"] == its_checkout["uses"]
    assert others == its_others


@pytest.mark.parametrize("environment", APPS)
@pytest.mark.parametrize("kept_as", ["default", "secrets", "variables", "both"])
@pytest.mark.parametrize("rolls_back", [False, True])
def test_environment_has_its_url_and_app(environment: str, kept_as: str, *, rolls_back: bool) -> None:
    """The app's name is a variable, or a secret, which logs mask and a URL can't contain."""
    job = JOBS[ROLL_BACK if rolls_back else f"deploy-{environment}"]
    inputs = {"environment": environment} if rolls_back else {}
    variables = (
        {"FLY_APP_STAGING": "ours-staging", "FLY_APP_PRODUCTION": "ours"} if kept_as in {"variables", "both"} else {}
    )
    secrets = {"FLY_APP_STAGING": "ours-staging", "FLY_APP_PRODUCTION": "ours"} if kept_as == "secrets" else {}
    if kept_as == "both":
        secrets = {"FLY_APP_STAGING": "outdated", "FLY_APP_PRODUCTION": "outdated"}
    name, app = f"FLY_APP_{environment.upper()}", APPS[environment]

    assert expand(job["environment"]["name"], inputs=inputs) == environment
    url = expand(job["environment"]["url"], inputs=inputs, variables=variables)
    assert url == f"https://{variables.get(name, app)}.fly.dev"
    assert set(job["env"]) == {"FLY_APP"}
    fly_app = expand(job["env"]["FLY_APP"], inputs=inputs, secrets=secrets, variables=variables)
    assert fly_app == (variables.get(name) or secrets.get(name, app))


# Permissions


@each_fly_job
def test_deploy_token_is_passed_only_to_flyctl(job: str) -> None:
    assert "FLY_API_TOKEN" not in JOBS[job]["env"]
    holders = [each for each in steps(job) if "FLY_API_TOKEN" in str(each.get("env", {}))]
    for each in holders:
        assert each["env"].items() >= TOKEN.items()
        assert re.search(r"^(flyctl|exec python3) |FLY_API_TOKEN is missing", each["run"], re.MULTILINE)
    assert [each for each in steps(job) if "flyctl" in each.get("run", "") and each not in holders] == []
    assert str(JOBS[job]).count("secrets.FLY_API_TOKEN") == len(holders)


@each_fly_job
def test_job_secrets_are_the_token_and_the_app_name(job: str) -> None:
    assert set(re.findall(r"secrets\.(\w+)", str(JOBS[job]))) <= {
        "FLY_API_TOKEN",
        "FLY_APP_STAGING",
        "FLY_APP_PRODUCTION",
    }


def test_every_flyctl_command_names_its_app() -> None:
    """test_deploy.py tests the script's commands; the other steps only sign in."""
    lines = [line.strip() for each in steps() for line in each.get("run", "").splitlines()]

    assert [line for line in lines if re.search(r"\bflyctl [a-z]", line)] == ["flyctl auth docker"] * len(DEPLOYS)
    scripts = [line for file in (ROOT / ".github" / "scripts").glob("*.py") for line in file.read_text().splitlines()]
    for command in ("status", "logs", "releases", "deploy", "list", "destroy", "exec"):
        called = [line for line in scripts if f'"{command}", "--' in line]
        assert called
        assert all(f'"{command}", "--app", ' in line for line in called)
