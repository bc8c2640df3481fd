"""Reads the workflow file, evaluates its expressions and runs its steps."""

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
    """Return the value of an expression. Supports comparisons, `&&`, `||`, `!` and format()."""
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
    """Return the text with each expression replaced by its value."""

    def value(expression: re.Match[str]) -> str:
        return str(evaluate(expression[0], inputs=inputs, secrets=secrets, variables=variables))

    return re.sub(r"\$\{\{.*?\}\}", value, text, flags=re.DOTALL)


def steps(*jobs: str) -> Iterator[dict[str, Any]]:
    for job in jobs or JOBS:
        yield from JOBS[job]["steps"]


def step(job: str, **properties: str) -> dict[str, Any]:
    """Return the only step of a job that has these properties."""
    (match,) = [s for s in JOBS[job]["steps"] if properties.items() <= s.items()]
    return dict(match)


def step_running(job: str, words: str) -> dict[str, Any]:
    (match,) = [s for s in JOBS[job]["steps"] if words in s.get("run", "")]
    return dict(match)


def run(script: str, folder: Path, *, fakes: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a step's script as the runner does. Fake programs append their name and arguments to `calls`, a line each."""
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
