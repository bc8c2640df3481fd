"""The workflow, read from its file, and its steps, run here."""

import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

from ruamel.yaml import YAML

from tests.support.api import ROOT

FILE = ROOT / ".github" / "workflows" / "backend.yml"
TEXT = FILE.read_text()
WORKFLOW: dict[str, Any] = YAML(typ="safe").load(TEXT)
JOBS: dict[str, Any] = WORKFLOW["jobs"]
BUILD, ROLL_BACK, REBUILD = "build-and-test", "roll-back", "rebuild"
DEPLOYS = ["deploy-staging", "deploy-production"]
FLY_JOBS = [*DEPLOYS, ROLL_BACK]
COMMIT = "1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d"
RUN_ID = 7
VARIABLES = ["FLY_APP_STAGING", "FLY_APP_PRODUCTION", "BAKE_SECONDS"]
INPUTS = ["roll_back_to", "environment", "force", "bake_seconds"]


type Context = Mapping[str, str | None]


def evaluate(
    expression: str,
    *,
    event: str = "push",
    ref: str = "refs/heads/develop",
    schedule: str = "",
    inputs: Context = MappingProxyType({}),
    secrets: Context = MappingProxyType({}),
    variables: Context = MappingProxyType({}),
) -> Any:
    """The value of an expression, of those that compare, or call format()."""
    bare = expression.removeprefix("${{").removesuffix("}}").strip()
    python = re.sub(r"!(?!=)", " not ", bare.replace("&&", " and ").replace("||", " or ").replace("\n", " "))
    assert re.fullmatch(r"[\w\s.=!'/(){},*-]*", python), python
    names = {
        "github": SimpleNamespace(event_name=event, ref=ref, run_id=RUN_ID, event=SimpleNamespace(schedule=schedule)),
        "inputs": SimpleNamespace(**{**dict.fromkeys(INPUTS), **inputs}),
        "secrets": SimpleNamespace(**{"FLY_APP_STAGING": None, "FLY_APP_PRODUCTION": None, **secrets}),
        "vars": SimpleNamespace(**{**dict.fromkeys(VARIABLES), **variables}),
        "format": str.format,
    }
    return eval(python, names)  # noqa: S307 - our own file


def expand(
    text: str,
    *,
    inputs: Context = MappingProxyType({}),
    secrets: Context = MappingProxyType({}),
    variables: Context = MappingProxyType({}),
) -> str:
    """A text with its expressions' values in it."""

    def value(expression: re.Match[str]) -> str:
        return str(evaluate(expression[0], inputs=inputs, secrets=secrets, variables=variables))

    return re.sub(r"\$\{\{.*?\}\}", value, text, flags=re.DOTALL)


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
