"""Load by wrk, and its result."""

import json
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.bench.workloads import Workload

SCRIPT = Path(__file__).parent / "wrk.lua"
WRK_CORE = 1
CONNECTIONS = 64
CLIENT_ERROR = 400


class LoadError(Exception):
    """wrk is missing or failed. The message is for a person."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """Result of a run of wrk, a closed loop: each connection sends its next request after the answer to the last."""

    requests: int
    failed: int
    """Broken, timed out, or answered by an error where the workload expects none (or the other way round)."""
    seconds: float
    p50_ms: float
    p99_ms: float

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds


def start(
    url: str, workload: Workload, *, tokens: Sequence[str], folder: Path, seconds: float
) -> subprocess.Popen[str]:
    """Start wrk on its core, with requests of the users in turn. `finish` waits for it.

    Raises:
        LoadError: wrk is not installed.
    """
    if shutil.which("wrk") is None:
        raise LoadError("wrk is missing; on Debian and Ubuntu: apt-get install wrk")
    file = folder / f"requests-{url.rpartition(':')[2]}"
    file.write_bytes(b"\0".join(workload.raw_request(token) for token in tokens))
    first_number = int(time.time() * 10_000) % 10**12  # counts faster than any contender answers
    options = ["--threads", "1", "--connections", str(CONNECTIONS), "--duration", f"{max(1, round(seconds))}s"]
    script = ["--timeout", "10s", "--script", str(SCRIPT), url, "--", str(file), str(first_number)]
    return subprocess.Popen(
        ["taskset", "--cpu-list", str(WRK_CORE), "wrk", *options, *script],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen[str], workload: Workload) -> Load:
    """Wait for wrk.

    Raises:
        LoadError: wrk printed no result.
    """
    output, _ = process.communicate(timeout=120)
    return parse(output, expects_errors=workload.status >= CLIENT_ERROR)


def parse(output: str, *, expects_errors: bool) -> Load:
    """Read the line of JSON that wrk.lua prints.

    Raises:
        LoadError: the output has no such line.
    """
    line = next((line for line in reversed(output.splitlines()) if line.startswith("{")), None)
    if line is None:
        raise LoadError(f"wrk failed: {output.strip()[-300:]}")
    result = json.loads(line)
    requests, errors = result["requests"], result["errors"]
    # Without any answer, each request took at least as long as the run.
    at_least = 0 if requests else result["duration_us"]
    return Load(
        requests=requests,
        failed=(requests - errors if expects_errors else errors) + result["broken"],
        seconds=result["duration_us"] / 1e6,
        p50_ms=max(at_least, result["p50_us"]) / 1000,
        p99_ms=max(at_least, result["p99_us"]) / 1000,
    )
