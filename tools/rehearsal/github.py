"""What GitHub does with a workflow file before and beside its jobs, and act doesn't: filters, concurrency."""

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
    """What starts a workflow."""

    name: str
    """push, pull_request or workflow_dispatch."""
    ref: str
    """refs/heads/develop; of a pull request refs/pull/7/merge."""
    base: str = ""
    """The branch that a pull request wants to change."""
    paths: Sequence[str] = ()
    """Files that the push, or the pull request, changes."""
    inputs: Mapping[str, str] = field(default_factory=dict)
    run_id: int = field(default_factory=itertools.count(1).__next__)
    """Of the run that it starts; each has its own."""


def matches(pattern: str, text: str) -> bool:
    """The patterns of `branches` and `paths`.

    https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-syntax#filter-pattern-cheat-sheet
    """
    translated = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "?", "+": "+"}
    parts = re.split(r"(\*\*/|\*\*|\*|\?|\+|\[[^\]]*\])", pattern)
    expression = "".join(
        part if part.startswith("[") else translated.get(part) or re.escape(part).replace(r"\\", "") for part in parts
    )
    return bool(re.fullmatch(expression, text))


def selected(patterns: Sequence[str], text: str) -> bool:
    """In order, and the last that matches decides; `!` excludes (same page)."""
    result = False
    for pattern in patterns:
        if matches(pattern.removeprefix("!"), text):
            result = not pattern.startswith("!")
    return result


def starts(workflow: Mapping[str, Any], event: Event) -> bool:
    """Whether the event starts it: by its branch, and by any one of its paths."""
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
    """The value of a `${{ }}` expression, or of a text that holds some: of those that look at `github` and `inputs`.

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
    assert re.fullmatch(r"[\w\s.=!'/(){},-]*", python), f"teach this function the expression's characters: {expression}"
    names = {
        "github": SimpleNamespace(event_name=event.name, ref=event.ref, run_id=event.run_id),
        "inputs": _Inputs(event.inputs),
        "format": lambda text, *values: text.format(*values),
    }
    return eval(python, {"__builtins__": {}}, names)  # noqa: S307 - our own file


class _Inputs:
    """One that wasn't given is empty."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values

    def __getattr__(self, name: str) -> str:
        return self._values.get(name, "")


def jobs(workflow: Mapping[str, Any], event: Event) -> list[str]:
    """The jobs that run, if those that they need succeed. `if` may leave out the braces."""
    conditions = {name: str(job.get("if", "True")) for name, job in workflow["jobs"].items()}
    return [
        name
        for name, condition in conditions.items()
        if evaluate(condition if "${{" in condition else f"${{{{ {condition} }}}}", event)
    ]


class Concurrency:
    """One run of a group at a time; the others wait.

    With `queue: max`, as the deploys have it, GitHub keeps up to 100 that wait; without it, only the newest. It also
    cancels the running one where `cancel-in-progress` says so.
    https://docs.github.com/en/actions/how-tos/write-workflows/choose-when-workflows-run/control-workflow-concurrency
    """

    def __init__(self) -> None:
        self._groups: dict[str, threading.Lock] = {}

    @contextmanager
    def of(self, workflow: Mapping[str, Any], event: Event) -> Iterator[None]:
        """For as long as the block runs, no other run shares a group with this one, neither its own nor a job's.

        A job waits for its group when its turn comes; here the whole run does, which act leaves no other way to do.
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
