"""GitHub's event filters and concurrency groups, which act lacks."""

import itertools
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Event:
    """An event that may start a workflow."""

    name: str
    """push, pull_request or workflow_dispatch."""
    ref: str
    """refs/heads/develop, or refs/pull/7/merge for a pull request."""
    base: str = ""
    """The target branch of a pull request."""
    paths: Sequence[str] = ()
    """Files that the push or the pull request changes."""
    inputs: Mapping[str, str] = field(default_factory=dict)
    run_id: int = field(default_factory=itertools.count(1).__next__)
    """The id of the run that it starts."""


def matches(pattern: str, text: str) -> bool:
    """Match a pattern of `branches` or `paths`.

    https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-syntax#filter-pattern-cheat-sheet
    """
    translated = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "?", "+": "+"}
    parts = re.split(r"(\*\*/|\*\*|\*|\?|\+|\[[^\]]*\])", pattern)
    expression = "".join(
        part if part.startswith("[") else translated.get(part) or re.escape(part).replace(r"\\", "") for part in parts
    )
    return bool(re.fullmatch(expression, text))


def selected(patterns: Sequence[str], text: str) -> bool:
    """Apply the patterns in order; the last match decides, and `!` excludes (same page)."""
    result = False
    for pattern in patterns:
        if matches(pattern.removeprefix("!"), text):
            result = not pattern.startswith("!")
    return result


def starts(workflow: Mapping[str, Any], event: Event) -> bool:
    """Return whether the event starts the workflow: its branch and at least one path match."""
    if event.name not in workflow["on"]:
        return False
    filters = workflow["on"][event.name] or {}
    branch = event.base if event.name == "pull_request" else event.ref.removeprefix("refs/heads/")
    if "branches" in filters and not (
        (event.name == "pull_request" or event.ref.startswith("refs/heads/")) and selected(filters["branches"], branch)
    ):
        return False
    return "paths" not in filters or any(selected(filters["paths"], path) for path in event.paths)


def evaluate(expression: Any, event: Event) -> Any:
    """Return the value of a `${{ }}` expression or of a text with expressions; supports `github` and `inputs`.

    https://docs.github.com/en/actions/reference/workflows-and-actions/expressions
    """
    if not isinstance(expression, str):
        return expression
    whole = re.fullmatch(r"\$\{\{(.*)\}\}", expression.strip(), re.DOTALL)
    if whole and "}}" not in whole[1]:
        return _value(whole[1], event)
    return re.sub(r"\$\{\{(.*?)\}\}", lambda match: str(_value(match[1], event)), expression)


def _value(expression: str, event: Event) -> Any:
    python = re.sub(r"!(?!=)", " not ", expression.replace("&&", " and ").replace("||", " or ")).strip()
    assert re.fullmatch(r"[\w\s.=!'/(){},-]*", python), f"unsupported characters in the expression: {expression}"
    names = {
        "github": SimpleNamespace(event_name=event.name, ref=event.ref, run_id=event.run_id),
        "inputs": _Inputs(event.inputs),
        "format": lambda text, *values: text.format(*values),
    }
    return eval(python, {"__builtins__": {}}, names)  # noqa: S307 - our own file


class _Inputs:
    """The inputs of a dispatched run; missing ones are empty."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values

    def __getattr__(self, name: str) -> str:
        return self._values.get(name, "")


def jobs(workflow: Mapping[str, Any], event: Event) -> list[str]:
    """Return the jobs that run if the jobs that they need succeed. `if` may omit the braces."""
    conditions = {name: str(job.get("if", "True")) for name, job in workflow["jobs"].items()}
    return [
        name
        for name, condition in conditions.items()
        if evaluate(condition if "${{" in condition else f"${{{{ {condition} }}}}", event)
    ]


class Concurrency:
    """Lets one run of a group proceed at a time; the others wait.

    With `queue: max`, as in the deploy jobs, GitHub keeps up to 100 waiting runs; without it, only the newest. With
    `cancel-in-progress` it also cancels the current run.
    https://docs.github.com/en/actions/how-tos/write-workflows/choose-when-workflows-run/control-workflow-concurrency
    """

    def __init__(self) -> None:
        self._groups: dict[str, threading.Lock] = {}

    @contextmanager
    def of(self, workflow: Mapping[str, Any], event: Event) -> Iterator[None]:
        """Hold the groups of the workflow and of its jobs while the block runs.

        On GitHub, a job waits for its own group. Here the whole run waits, because act can't pause single jobs.
        """
        settings = [
            workflow.get("concurrency"),
            *(workflow["jobs"][job].get("concurrency") for job in jobs(workflow, event)),
        ]
        groups = sorted({str(evaluate(each["group"], event)) for each in settings if each})
        with ExitStack() as stack:
            for group in groups:
                stack.enter_context(self._groups.setdefault(group, threading.Lock()))
            yield
