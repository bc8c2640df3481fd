"""Load from wrk, and what it says."""

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

SCRIPT = Path(__file__).parent / "wrk.lua"
WRK_CORE = 1


class LoadError(Exception):
    """There is no wrk, or it can't do its work. The message is for a person."""


@dataclass(frozen=True, kw_only=True)
class Workload:
    """One kind of request."""

    name: str
    title: str
    method: str
    path: str
    signed_in: bool
    refused: bool = False
    """Whether all answers are to be 4xx."""


WORKLOADS = [
    Workload(name="health", title="health", method="GET", path="/api/v1/health", signed_in=False),
    Workload(name="me", title="authenticated read", method="GET", path="/api/v1/auth/me", signed_in=True),
    Workload(name="write", title="one-row write", method="PATCH", path="/api/v1/auth/me", signed_in=True),
    Workload(name="401", title="401", method="GET", path="/api/v1/auth/me", signed_in=False, refused=True),
]


@dataclass(frozen=True, kw_only=True)
class Load:
    """What wrk measured. It is a closed loop: a connection's next request waits for the answer to the one before."""

    requests: int
    failed: int
    """How many of them broke, timed out or were answered by a status of another kind than the workload's."""
    seconds: float
    p50_ms: float
    p99_ms: float
    """Both corrected by wrk for what waited while nothing was answered, as well as a closed loop can be."""

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds


def start(  # noqa: PLR0913 - what wrk is told
    url: str, workload: Workload, *, tokens: Path, connections: int, seconds: float, pinned: bool = True
) -> subprocess.Popen[str]:
    """Start wrk. `finish` waits for it."""
    if shutil.which("wrk") is None:
        raise LoadError("wrk is missing; on Debian and Ubuntu, apt-get install wrk")
    # wrk takes whole seconds.
    options = ["--threads", "1", "--connections", str(connections), "--duration", f"{max(1, round(seconds))}s"]
    script = ["--timeout", "10s", "--script", str(SCRIPT), url, "--", workload.method, workload.path]
    pin = ["taskset", "--cpu-list", str(WRK_CORE)] if pinned else []
    return subprocess.Popen(
        [*pin, "wrk", *options, *script, *([str(tokens)] if workload.signed_in else [])],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen[str], workload: Workload) -> Load:
    """Wait for it.

    Raises:
        LoadError: wrk couldn't do its work.
    """
    said, _ = process.communicate(timeout=120)
    return parse(said, refused=workload.refused)


def parse(said: str, *, refused: bool) -> Load:
    """Read the last line that wrk.lua has wrk print.

    Args:
        said: what wrk printed.
        refused: whether answers are to be 4xx.

    Raises:
        LoadError: there is no such line.
    """
    line = next((line for line in reversed(said.splitlines()) if line.startswith("{")), None)
    if line is None:
        raise LoadError(f"wrk said: {said.strip()[-300:]}")
    told = json.loads(line)
    requests = told["requests"]
    wrong = requests - told["refused"] if refused else told["refused"]
    # Where nothing was answered, it took as long at least.
    at_least = 0 if requests else told["duration_us"]
    return Load(
        requests=requests,
        failed=wrong + told["broken"],
        seconds=told["duration_us"] / 1e6,
        p50_ms=max(at_least, told["p50_us"]) / 1000,
        p99_ms=max(at_least, told["p99_us"]) / 1000,
    )
