"""deploy.py as the workflow runs it, with a fake flyctl and a fake health endpoint."""

import ast
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import deploy as script
import flyctl
import options
import time_limits
from tests.support.api import ROOT
from tests.support.waiting import wait_until
from tools.pipeline.fake_fly import AWAY, COMMIT, IMAGE, IMAGE_BEFORE, NEW, OLD, SCRIPT, FakeFly, Reply, Step, health

pytestmark = pytest.mark.slow

SCRIPTS = SCRIPT.parent


# A successful deploy


def test_commit_image_is_deployed_from_the_fly_toml_folder(fly: FakeFly) -> None:
    done = fly.deploy()

    assert done.status == 0, done.out
    assert fly.commands("deploy") == [f"deploy --app an-app --image {IMAGE} --yes"]
    (call,) = [each for each in fly.calls if each["arguments"][0] == "deploy"]
    assert Path(call["folder"]) == ROOT / "server"
    assert call["token"] == "fo1_s3cr3t"
    assert done.last == f"::notice::an-app: Deployed. Last seen: status 200, version {NEW}"


def test_flyctl_output_cannot_send_workflow_commands(fly: FakeFly) -> None:
    fly.deploys = [Step(says="::error::forged", replies=[health(NEW)])]

    lines = fly.deploy().out.splitlines()

    start = lines.index(f"::group::flyctl deploy --app an-app --image {IMAGE} --yes")
    resume = lines[start + 1].removeprefix("::stop-commands::")
    assert len(resume) >= 32
    assert lines[start + 2 : start + 5] == ["::error::forged", f"::{resume}::", "::endgroup::"]


def test_flyctl_output_is_streamed(fly: FakeFly) -> None:
    fly.deploys = [Step(says="building", seconds=30)]
    process = fly.start("deploy", COMMIT)
    assert process.stdout
    started = time.monotonic()

    while process.stdout.readline() != "building\n":
        assert time.monotonic() - started < 20

    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)


def test_first_deploy_has_no_previous_version(fly: FakeFly) -> None:
    fly.serve(Reply("", 404))
    fly.releases = []

    assert fly.deploy().status == 0
    assert "| Served before | `unknown` |" in fly.summary


def test_first_deploy_does_not_resolve_the_name_too_early(fly: FakeFly) -> None:
    """A resolver would cache the missing name, and the app would look unreachable after a successful deploy."""
    fly.releases = []

    lines = fly.deploy().out.splitlines()

    requests = [number for number, line in enumerate(lines) if re.match(r" *[0-9.]+ s  ", line)]
    deployed = lines.index(f"::group::flyctl deploy --app an-app --image {IMAGE} --yes")
    assert requests
    assert min(requests) > deployed


def test_summary_lists_app_versions_and_image(fly: FakeFly) -> None:
    (fly.folder / "summary").write_text("what an earlier step wrote\n")
    fly.deploy()

    assert fly.summary.splitlines() == [
        "what an earlier step wrote",
        "### an-app: Deployed.",
        "",
        "| | |",
        "|---|---|",
        "| App | `an-app` |",
        f"| URL | {fly.url} |",
        f"| Requested | `{COMMIT}` |",
        f"| Served before | `{OLD}` |",
        f"| Image before | `{IMAGE_BEFORE}` |",
        f"| Serves now | `{NEW}` |",
        f"| Image | `{IMAGE}` |",
        "| flyctl | succeeded |",
        "| Watched | health for 0 s: good |",
        "",
        "`flyctl status --app an-app`",
        "",
        "```text",
        "2 machines",
        "```",
    ]


# The result: flyctl's exit status and the served commit


@pytest.mark.parametrize(
    ("status", "before", "serves", "ends", "sentence"),
    [
        (0, OLD, NEW, 0, "notice::an-app: Deployed."),
        (0, "", NEW, 0, "notice::an-app: Deployed."),
        (0, NEW, NEW, 0, "notice::an-app: Deployed."),  # the same commit again
        (0, OLD, OLD, 1, "error::an-app: flyctl succeeded, but the app doesn't serve the commit."),
        (1, OLD, OLD, 1, "error::an-app: flyctl failed with exit status 1, and the app doesn't serve the commit."),
        # The release command has succeeded, or no machine would have been replaced: the API was slow.
        (1, OLD, NEW, 0, "warning::an-app: Deployed, although flyctl failed with exit status 1"),
        (1, "0.1.0", NEW, 0, "warning::an-app: Deployed, although flyctl failed with exit status 1"),
        # Nothing proves that the release command succeeded, and a failure must not pass.
        (1, NEW, NEW, 1, "but perhaps did so before. Put back: Nothing: the app serves the commit."),
        (1, "", NEW, 1, "but perhaps did so before. Put back: Nothing: the app serves the commit."),
    ],
)
def test_result_depends_on_served_commit_and_flyctl_exit(
    fly: FakeFly,
    status: int,
    before: str,
    serves: str,
    ends: int,
    sentence: str,
) -> None:
    fly.serve(health(before))
    fly.deploys = [Step(status=status, replies=[health(serves)])]

    done = fly.deploy()

    assert done.status == ends
    assert sentence in done.last
    assert len(fly.commands("deploy")) == 1


def test_hanging_flyctl_is_interrupted_at_its_time_limit(fly: FakeFly) -> None:
    fly.deploys = [Step(seconds=60)]

    done = fly.deploy("--time-limit", "5")

    assert done.status == 1
    assert "flyctl was stopped after 5 s, and the app doesn't serve the commit" in done.out
    assert (fly.folder / "interrupted").exists()


def test_missing_flyctl_is_reported(fly: FakeFly) -> None:
    done = fly.deploy(PATH="/nowhere")

    assert done.status == 1
    assert "flyctl can't list the machines of an-app" in done.last
    assert "flyctl machine: [Errno 2]" in done.out


def test_wait_is_shorter_after_a_flyctl_failure() -> None:
    parsed = options.parse(["deploy", "an-app", COMMIT])

    assert script.patience(parsed, "succeeded") == 90
    assert script.patience(parsed, "failed with exit status 1") == 15


# Status and logs


@pytest.mark.parametrize(("serves", "shown"), [(NEW, 0), (OLD, 1)])
def test_failed_deploy_shows_status_and_logs(fly: FakeFly, serves: str, shown: int) -> None:
    fly.deploys = [Step(replies=[health(serves)])]

    done = fly.deploy()

    assert fly.commands("status") == ["status --app an-app"]
    assert fly.commands("logs") == ["logs --app an-app --no-tail"] * shown
    assert done.out.count("::group::flyctl status") == shown
    assert done.out.count("::group::flyctl logs") == shown


def test_failing_status_command_changes_nothing(fly: FakeFly) -> None:
    fly.status = Step(status=1, says="Error: unauthorized")

    done = fly.deploy()

    assert done.status == 0
    assert "Error: unauthorized" in done.out
    assert "```" not in fly.summary


@pytest.mark.parametrize(
    ("tag", "commit"),
    [
        (f":{COMMIT}", COMMIT),
        (f":deployment-{COMMIT}", COMMIT),
        (f":{COMMIT}@sha256:{64 * 'a'}", COMMIT),
        (f"@sha256:{64 * 'a'}", ""),
        (f":{COMMIT}0", ""),
        (f":a{COMMIT}", ""),
        (f":{COMMIT[:39]}", ""),
        (":deployment-01JX2", ""),
        ("", ""),
    ],
)
def test_image_commit_is_the_full_hash_in_its_tag(tag: str, commit: str) -> None:
    assert flyctl.commit_of(f"registry.fly.io/an-app{tag}") == commit
    assert flyctl.commit_of(f"registry.fly.io/{COMMIT}{tag}") == commit


# Cancelled runs


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_cancelled_run_stops_flyctl_and_puts_nothing_back(fly: FakeFly, number: signal.Signals) -> None:
    fly.deploys = [Step(replies=[AWAY], seconds=60)]
    process = fly.start("deploy", COMMIT)
    wait_for_a_deploy(fly)

    process.send_signal(number)
    wait_until((fly.folder / "interrupted").exists)  # Python reports an error for two signals at once
    process.send_signal(signal.SIGTERM)  # the second signal that GitHub sends
    out, error = process.communicate(timeout=20)

    assert process.returncode == 1, error
    assert "Traceback" not in error
    assert (fly.folder / "interrupted").exists()
    assert len(fly.commands("deploy")) == 1
    message = f"The run was cancelled ({number.name}) before the deploy ended."
    assert message in out.splitlines()[-1]
    assert f"### an-app: {message}" in fly.summary
    assert "| flyctl | was started |" in fly.summary


def wait_for_a_deploy(fly: FakeFly) -> None:
    deadline = time.monotonic() + 20
    while AWAY.body not in (fly.folder / "replies").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)


# Arguments


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "the following arguments are required"),
        (["deploy", "an-app"], "the following arguments are required: commit"),
        (["roll-back", "an-app"], "the following arguments are required: release"),
        (["deploy", "an-app", "1a2b3c4"], "'1a2b3c4' isn't a full commit hash"),
        (["deploy", "an-app", COMMIT.upper()], "isn't a full commit hash"),
        (["deploy", "An App", COMMIT], "'An App' isn't an app name such as"),
        (["deploy", "", COMMIT], "'' isn't an app name such as"),
        (["roll-back", "-a", "v1"], "the following arguments are required"),
        (["deploy", "an-app", COMMIT, "--url", "127.0.0.1"], "'127.0.0.1' isn't a URL such as"),
        (["deploy", "an-app", COMMIT, "--url", "ftp://127.0.0.1"], "isn't a URL such as"),
        (["deploy", "an-app", COMMIT, "--url", "http://127.0.0.1/api"], "isn't a URL such as"),
        (["deploy", "an-app", COMMIT, "--patience", "nan"], "'nan' isn't a whole number"),
        (["deploy", "an-app", COMMIT, "--bake", "901"], "901 is more than 900 seconds"),
        (["deploy", "an-app", COMMIT, "--bake", ""], "'' isn't a whole number"),
        (["roll-back", "an-app", "v1", "--force"], "unrecognized arguments: --force"),
    ],
)
def test_invalid_argument_is_named_in_the_error(arguments: list[str], sentence: str) -> None:
    done = subprocess.run(
        [sys.executable, "-EsW", "error", SCRIPT, *arguments], capture_output=True, text=True, timeout=250, check=False
    )

    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_default_is_ten_answers_in_a_row_from_the_apps_url() -> None:
    parsed = options.parse(["deploy", "an-app", COMMIT])

    assert (parsed.url, parsed.answers, parsed.interval) == ("https://an-app.fly.dev", 10, 1)
    assert (parsed.patience, parsed.bake, parsed.force) == (90, 120, False)
    assert parsed.time_limit == time_limits.DEPLOY_SECONDS


@pytest.mark.parametrize("script", sorted(SCRIPTS.glob("*.py")), ids=lambda path: path.name)
def test_scripts_import_only_the_standard_library(script: Path) -> None:
    """The runner's own Python (3.14 on ubuntu-26.04, 3.12 on ubuntu-24.04) has no packages of ours."""
    tree = ast.parse(script.read_text(), feature_version=(3, 12))
    imported = {
        name.partition(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert imported <= sys.stdlib_module_names | {path.stem for path in SCRIPTS.glob("*.py")}
