"""Runs the committed workflow with act (https://nektosact.com), on this machine, offline.

act starts jobs as local processes, each in a copy of the repository, with the actions in `actions/` in place of the
third-party ones. github.py implements what act lacks: filters and concurrency.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from ruamel.yaml import YAML

from tests.support.api import ROOT
from tools.fly_simulator.platform import Fly
from tools.rehearsal import github
from tools.rehearsal.github import Event

HERE = Path(__file__).parent
WORKFLOW = ".github/workflows/backend.yml"
DEPLOYMENT_TARGETS = "image image-archive"
"""The targets of Build & Test that a deploy needs."""
BAKE_SECONDS = 2  # short in cases that don't test the bake time


@dataclass
class Run:
    """The result of a run."""

    started: bool = True
    status: int = 0
    jobs: dict[str, str] = field(default_factory=dict)
    """`success` or `failure` by job id, without skipped jobs."""
    failed_steps: list[str] = field(default_factory=list)
    log: str = ""
    summary: str = ""

    @property
    def succeeded(self) -> bool:
        return self.started and self.status == 0


class Workflow:
    """The workflow of a checkout, and the secrets that GitHub keeps for it."""

    def __init__(self, checkout: Path, fly: Fly | None, folder: Path, secrets: Mapping[str, str]) -> None:
        self._checkout = checkout
        self._fly = fly
        self._folder = folder
        self._secrets = dict(secrets)
        self._concurrency = github.Concurrency()
        self._count = 0
        self._lock = threading.Lock()
        self._processes: list[subprocess.Popen[str]] = []

    def run(
        self,
        event: Event,
        *,
        targets: str = DEPLOYMENT_TARGETS,
        secrets: Mapping[str, str] | None = None,
        variables: Mapping[str, str] | None = None,
        bake_seconds: int = BAKE_SECONDS,
    ) -> Run:
        """Start the workflow by an event, and wait until it has ended.

        Args:
            event: its commit is the one that is checked out now.
            targets: targets of the Makefile that run for real.
            secrets: replace the usual ones.
            variables: environment variables of the jobs.
            bake_seconds: the repository's variable BAKE_SECONDS.
        """
        with self._lock:
            self._count += 1
            folder = self._folder / f"run-{self._count}"
            # Copy the commit now: the checkout may move to another one before the run begins.
            checkout = folder / "repository"
            subprocess.run(["git", "clone", "--quiet", "--shared", self._checkout, checkout], check=True)
        text = (checkout / WORKFLOW).read_text()
        workflow = YAML(typ="safe").load(text)
        if not github.starts(workflow, event):
            return Run(started=False)
        # act rejects `queue` (in GitHub since 2026-05-07), and ignores concurrency anyway.
        (folder / "workflow.yml").write_text(re.sub(r"^ +queue: .*\n", "", text, flags=re.MULTILINE))
        arguments = _arguments(folder, event, workflow, self._secrets if secrets is None else secrets)
        arguments += ["--var", f"BAKE_SECONDS={bake_seconds}"]
        environment = self._environment(folder, targets) | dict(variables or {})
        with self._concurrency.of(workflow, event):
            return _act(checkout, arguments, environment, folder / "log", self._processes)

    def lose_runner(self) -> None:
        """Kill every process of the newest run, as a power failure of its runner would."""
        act = psutil.Process(self._processes[-1].pid)
        for process in [act, *act.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def has_logged(self, words: str) -> bool:
        """Return whether the newest run's log contains the words so far."""
        log = self._folder / f"run-{self._count}" / "log"
        return log.exists() and words in log.read_text()

    def _environment(self, folder: Path, targets: str) -> dict[str, str]:
        venv = Path(sys.executable).parent
        make, bash = shutil.which("make"), shutil.which("bash")
        assert make
        assert bash
        environment = {
            "PATH": f"{HERE / 'bin'}:{venv}:{os.environ['PATH']}",
            "HOME": str(Path.home()),
            "XDG_CACHE_HOME": str(folder / "cache"),
            "LANG": "C.UTF-8",
            "BUILDAH_ISOLATION": "chroot",
            "STORAGE_DRIVER": "vfs",
            "REAL_MAKE": make,
            "REAL_BASH": bash,
            "REHEARSED_TARGETS": targets,
            "REHEARSAL_ROOT": str(ROOT),
            "REHEARSAL_ARTIFACTS": str(folder / "artifacts"),
            "REHEARSAL_HOME": str(folder / "home"),
            "FLY_STAND_IN_ROOT": str(ROOT),
            "FLY_STAND_IN_PYTHON": sys.executable,
        }
        if self._fly:
            environment |= {
                "FLY_FLAPS_BASE_URL": self._fly.api_url,
                "REHEARSAL_PROXY": self._fly.edge.proxy_url,
                "REHEARSAL_CA": str(self._fly.edge.ca_file),
            }
        return environment


def _arguments(folder: Path, event: Event, workflow: Mapping[str, Any], secrets: Mapping[str, str]) -> list[str]:
    payload: dict[str, Any] = {"ref": event.ref, "inputs": dict(event.inputs)}
    if event.name == "pull_request":
        payload["pull_request"] = {"base": {"ref": event.base}, "head": {"ref": "feature"}}
    (folder / "event.json").write_text(json.dumps(payload))
    (folder / "secrets").write_text("".join(f"{name}={value}\n" for name, value in secrets.items()))
    files = {"--eventpath": folder / "event.json", "--secret-file": folder / "secrets", "--env-file": Path(os.devnull)}
    return [
        *[event.name, "--workflows", str(folder / "workflow.yml"), "--json"],
        *["--platform", "ubuntu-26.04=-self-hosted"],
        *["--action-offline-mode", "--no-cache-server"],
        *[f"{option}={file}" for option, file in files.items()],
        *[f"--local-repository={each}" for each in local_actions(workflow)],
    ]


def _act(
    checkout: Path,
    arguments: Sequence[str],
    environment: dict[str, str],
    log_file: Path,
    processes: list[subprocess.Popen[str]],
) -> Run:
    run = Run()
    with (
        log_file.open("w") as log,
        subprocess.Popen(
            # On GitHub, the runner's load doesn't slow Fly's machines.
            ["nice", "-n", "15", "act", *arguments],
            cwd=checkout,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process,
    ):
        processes.append(process)
        assert process.stdout
        for line in process.stdout:
            log.write(_read(line, run))
            log.flush()
    run.status = process.returncode
    run.log = log_file.read_text()
    return run


def local_actions(workflow: Mapping[str, Any]) -> set[str]:
    """Return the values of act's option --local-repository."""
    uses = {step["uses"] for job in workflow["jobs"].values() for step in job["steps"] if "uses" in step}
    repositories = set()
    for each in uses:
        path, _, commit = each.partition("@")
        repository = "/".join(path.split("/")[:2])
        folder = HERE / "actions" / repository.split("/")[1]
        assert folder.is_dir(), f"{each} has no stand-in in {HERE.relative_to(ROOT)}/actions"
        repositories.add(f"{repository}@{commit}={folder}")
    return repositories


def _read(line: str, run: Run) -> str:
    """Update the run from a line of act's JSON output; return the line as text."""
    try:
        entry = json.loads(line)
    except ValueError:
        return line
    message = entry.get("msg", "").rstrip("\n")
    if entry.get("stage") == "Main" and message.startswith("⭐") and len(entry["stepID"]) == 1:
        _progress(f"{entry['jobID']}: {entry['step'].partition('@')[0]}")
    if entry.get("stepResult") == "failure" and entry.get("stage") == "Main" and len(entry["stepID"]) == 1:
        run.failed_steps.append(entry["step"])
    if "jobResult" in entry:
        run.jobs[entry["jobID"]] = entry["jobResult"]
    if entry.get("command") == "summary":
        run.summary += entry["content"]
    return f"{entry.get('jobID', '')} | {message}\n"


def _progress(text: str) -> None:
    print(f"    {text}", file=sys.__stderr__, flush=True)
