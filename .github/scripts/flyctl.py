"""Calls flyctl, which is on PATH and finds FLY_API_TOKEN in the environment. For Python 3.12 and nothing else."""

import json
import re
import secrets
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

SERVER = Path(__file__).parents[2] / "server"  # where fly.toml is
LOOK_TIMEOUT_SECONDS = 60
# On SIGINT flyctl destroys what it has begun to make (internal/command/deploy/strategy_bluegreen.go); give it the time.
CLEAN_UP_SECONDS = 60
# GitHub ends a cancelled step for good 10 s after it has told it.
CANCEL_SECONDS = 5


@dataclass(frozen=True)
class Release:
    """A line of `flyctl releases`."""

    version: int
    status: str
    image: str

    @property
    def commit(self) -> str:
        return commit_of(self.image)


def commit_of(image: str) -> str:
    """The full hash in an image's tag; empty when there is none. A digest is longer."""
    tag = image.rpartition("/")[2].partition(":")[2]
    found = re.search(r"(?<![0-9a-f])[0-9a-f]{40}(?![0-9a-f])", tag)
    return found[0] if found else ""


def releases(app: str) -> list[Release] | None:
    """What was deployed, newest first: the last 25. None: flyctl can't tell."""
    output = look("releases", "--app", app, "--image", "--json")
    try:
        found = [
            Release(int(each["Version"]), str(each["Status"]), str(each["ImageRef"] or ""))
            for each in json.loads(output or "")
        ]
    except (ValueError, KeyError, TypeError):
        return None
    return sorted(found, key=lambda each: each.version, reverse=True)


def deploy(app: str, image: str, *options: str, time_limit: int) -> str:
    """Deploy an image; tells how flyctl has ended: `succeeded`, or what went wrong."""
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
    """Run a command that only looks, and return what it says; None when it fails, and then the log tells why."""
    command = ["flyctl", *arguments]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=LOOK_TIMEOUT_SECONDS,
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
    """Fold what is printed in GitHub's log, and keep it from giving commands to the runner.

    https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands
    """
    resume = secrets.token_hex(16)
    print(f"::group::{title}\n::stop-commands::{resume}", flush=True)
    try:
        yield
    finally:
        print(f"::{resume}::\n::endgroup::", flush=True)
