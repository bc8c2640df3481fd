"""Calls flyctl, which is on PATH and finds FLY_API_TOKEN in the environment.

Python 3.12 to 3.14, standard library only.
"""

import json
import re
import secrets
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from time_limits import CANCEL_SECONDS, CLEAN_UP_SECONDS, LOOK_SECONDS

SERVER = Path(__file__).parents[2] / "server"  # the folder of fly.toml


@dataclass(frozen=True)
class Release:
    """A row of `flyctl releases`."""

    version: int
    status: str
    image: str

    @property
    def commit(self) -> str:
        return commit_of(self.image)


def commit_of(image: str) -> str:
    """Return the full hash in an image's tag; empty if there is none. (A digest is longer than a hash.)"""
    tag = image.rpartition("/")[2].partition(":")[2]
    match = re.search(r"(?<![0-9a-f])[0-9a-f]{40}(?![0-9a-f])", tag)
    return match[0] if match else ""


def releases(app: str) -> list[Release] | None:
    """Return the last 25 releases, newest first; None if flyctl can't list them."""
    output = look("releases", "--app", app, "--image", "--json")
    try:
        rows = [
            Release(int(each["Version"]), str(each["Status"]), str(each["ImageRef"] or ""))
            for each in json.loads(output or "")
        ]
    except (ValueError, KeyError, TypeError):
        return None
    return sorted(rows, key=lambda each: each.version, reverse=True)


def machines(app: str) -> list[dict[str, Any]] | None:
    """Return the app's machines (fly-go v0.9.5, machine_types.go, Machine); None if flyctl can't list them."""
    output = look("machine", "list", "--app", app, "--json")
    try:
        listed = json.loads(output or "")
    except ValueError:
        return None
    return listed or [] if isinstance(listed, list | None) else None


def execute(app: str, machine: str, command: str) -> str | None:
    """Run a command in a started machine; return its standard output, or None if it failed.

    A deploy token may do this (flyctl v0.4.87, tokens/create.go: a machine-exec token is a reduced deploy token).
    """
    output = look("machine", "exec", "--app", app, "--json", "--timeout", str(LOOK_SECONDS - 10), machine, command)
    try:
        done = json.loads(output or "")
        return None if done.get("exit_code") else str(done.get("stdout", ""))
    except (ValueError, AttributeError):
        return None


def deploy(app: str, image: str, *options: str, time_limit: int) -> str:
    """Deploy an image; return `succeeded`, or how flyctl failed."""
    command = ["flyctl", "deploy", "--app", app, "--image", image, *options, "--yes"]
    with group(" ".join(command)):
        try:
            process = subprocess.Popen(command, cwd=SERVER, stdin=subprocess.DEVNULL, stderr=subprocess.STDOUT)
        except OSError as error:
            return f"couldn't be started: {error}"
        try:
            status = process.wait(time_limit)
        except subprocess.TimeoutExpired:
            interrupt(process, CLEAN_UP_SECONDS)
            return f"was stopped after {time_limit} s"
        except BaseException:
            interrupt(process, CANCEL_SECONDS)
            raise
    return "succeeded" if status == 0 else f"failed with exit status {status}"


def interrupt(process: subprocess.Popen[bytes], patience: int) -> None:
    process.send_signal(signal.SIGINT)
    try:
        with suppress(subprocess.TimeoutExpired):
            process.wait(patience)
    finally:
        process.kill()
        process.wait()


def look(*arguments: str) -> str | None:
    """Run a short command; return its output, or None after logging the error."""
    command = ["flyctl", *arguments]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=LOOK_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        print(f"flyctl {arguments[0]}: {error}", flush=True)
        return None
    if done.returncode:
        with group(" ".join(command)):
            print(done.stdout + done.stderr, flush=True)
        return None
    return done.stdout


@contextmanager
def group(title: str) -> Iterator[None]:
    """Fold the output in GitHub's log, and stop the runner from reading workflow commands in it.

    https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands
    """
    resume = secrets.token_hex(16)
    print(f"::group::{title}\n::stop-commands::{resume}", flush=True)
    try:
        yield
    finally:
        print(f"::{resume}::\n::endgroup::", flush=True)
