"""`make bench`: this server beside others, as ratios of one run."""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
from rich.console import Console

from dev.postgres import Postgres, PostgresError
from tests.support.api import ROOT
from tools.bench import database, document, footprint, measure, report
from tools.bench.contenders import CONTENDERS, NODE, PEERS, StartError
from tools.bench.load import WORKLOADS, LoadError
from tools.bench.measure import FULL, QUICK, Bench

RESULTS = Path(__file__).parent / "results"
PARTS = "load start trips token memory processes growth".split()
QUICK_PARTS = PARTS[:3]
USERS = 1000


def main() -> None:
    given = arguments()
    console = Console(stderr=True, highlight=False)
    began = time.monotonic()

    def say(text: str) -> None:
        console.print(f"[dim]{time.monotonic() - began:5.0f} s[/]  {text}", soft_wrap=True)

    try:
        results = run(given, say)
    except (LoadError, StartError, PostgresError) as error:
        sys.exit(f"make bench: {error}")
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"{datetime.now(UTC):%Y-%m-%dT%H%M%SZ}.json"
    file.write_text(json.dumps(results, indent=1, default=lambda sample: sample.as_json()))
    report.show(results, Console(width=150))
    written = document.write(results, ROOT / "docs") if is_full(given) else []
    say("written: " + ", ".join(str(each.relative_to(ROOT)) for each in [file, *written]))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="some of it in two minutes, with less to rely on")
    for option, known in {
        "--only": [each.name for each in WORKLOADS],
        "--contenders": [each.name for each in CONTENDERS],
        "--parts": PARTS,
    }.items():
        parser.add_argument(option, type=names(known), metavar=",".join(known), help="some of these; default: all")
    given = parser.parse_args()
    given.only = given.only or [each.name for each in WORKLOADS]
    given.contenders = given.contenders or [each.name for each in CONTENDERS]
    given.parts = given.parts or (QUICK_PARTS if given.quick else PARTS)
    return given


def names(known: list[str]) -> Any:
    def read(text: str) -> list[str]:
        given = text.split(",")
        if unknown := set(given) - set(known):
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
        return given

    return read


def is_full(given: argparse.Namespace) -> bool:
    """Only then it is all that docs/performance.md tells of."""
    wanted = (len(given.only), len(given.contenders), len(given.parts))
    return not given.quick and wanted == (len(WORKLOADS), len(CONTENDERS), len(PARTS))


def run(given: argparse.Namespace, say: measure.Say) -> dict[str, Any]:
    plan = QUICK if given.quick else FULL
    say("starting PostgreSQL, making users")
    others = psutil.cpu_percent(1)
    with TemporaryDirectory(prefix="audifi-bench-") as folder, database.running() as server:
        bench = Bench(
            plan=plan,
            contenders=[each for each in CONTENDERS if each.name in given.contenders],
            workloads=[each for each in WORKLOADS if each.name in given.only],
            database=database.create(server, USERS),
            folder=Path(folder),
            say=say,
        )
        parts = given.parts
        return {
            "samples": list(measure.throughput(bench)) if "load" in parts else [],
            "one_token": list(measure.one_token(bench)) if "token" in parts else [],
            "starts": footprint.starts(bench) if "start" in parts else {},
            "memory": footprint.memory(bench) if "memory" in parts else {},
            "trips": footprint.trips(bench, server) if "trips" in parts else {},
            "processes": list(measure.processes(bench)) if "processes" in parts else [],
            "growth": list(measure.growth(bench, more(bench, server))) if "growth" in parts else [],
            "about": about(others),
        }


def more(bench: Bench, server: Postgres) -> list[database.Database]:
    """A database for each number of users."""
    made = []
    for users in bench.plan.users:
        bench.say(f"making {users:,} users")
        made.append(bench.database if users == bench.database.users else database.create(server, users))
    return made


def about(others: float) -> dict[str, Any]:
    """Of this run.

    Args:
        others: per cent of the machine that were busy before it began.
    """
    peers = json.loads((PEERS / "package.json").read_text())["dependencies"]
    node = output(NODE, "--version")
    python = [f"{name} {version(name)}" for name in ("fastapi", "uvicorn", "sqlalchemy", "asyncpg")]
    named = [f"{name} {peers[name]}" for name in ("express", "drizzle-orm", "pg", "fastify", "postgres")]
    versions = [f"Python {platform.python_version()}", *python, f"Node {node.removeprefix('v')}", *named]
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "commit": output("git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"),
        "cores": os.cpu_count(),
        "cpu": cpu(),
        "versions": ", ".join(versions),
        "others": f"{others:.0f} %",
    }


def cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


def output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    main()
