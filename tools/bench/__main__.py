"""Compare this server with equipped peers in one run, as ratios."""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
from rich.console import Console

from dev.postgres import PostgresError
from tests.support.api import ROOT
from tools.bench import contenders, database, document, footprint, measure, report, workloads
from tools.bench.contenders import CONTENDERS, FOLDER, NODE, PEERS, StartError
from tools.bench.load import LoadError
from tools.bench.measure import FULL, QUICK, Bench
from tools.bench.ratios import Results
from tools.bench.workloads import WORKLOADS

RESULTS = FOLDER / "results"
PARTS = ["load", "start", "statements"]
NODE_PACKAGES = ["express", "pg", "fastify", "postgres"]
PYTHON_PACKAGES = ["fastapi", "uvicorn", "sqlalchemy", "asyncpg"]


def main() -> None:
    arguments = parse_arguments()
    console = Console(stderr=True, highlight=False)
    began = time.monotonic()

    def log(text: str) -> None:
        console.print(f"[dim]{time.monotonic() - began:5.0f} s[/]  {text}", soft_wrap=True)

    try:
        results = run(arguments, log)
    except (LoadError, StartError, PostgresError) as error:
        sys.exit(f"make bench: {error}")
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"{datetime.now(UTC):%Y-%m-%dT%H%M%SZ}.json"
    file.write_text(json.dumps(asdict(results), indent=1))
    report.show(results, Console(width=150))
    written = document.write(results, ROOT / "docs") if is_full(arguments) else []
    log("written: " + ", ".join(str(each.relative_to(ROOT)) for each in [file, *written]))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="finish in three minutes, with a wider spread")
    for option, choices in {
        "--workloads": list(workloads.TITLES),
        "--contenders": list(contenders.TITLES),
        "--parts": PARTS,
    }.items():
        parser.add_argument(option, nargs="+", choices=choices, default=choices, help="default: all")
    return parser.parse_args()


def is_full(arguments: argparse.Namespace) -> bool:
    """Tell whether a run measures all of docs/performance.md."""
    chosen = (len(arguments.workloads), len(arguments.contenders), len(arguments.parts))
    return not arguments.quick and chosen == (len(WORKLOADS), len(CONTENDERS), len(PARTS))


def run(arguments: argparse.Namespace, log: measure.Log) -> Results:
    log("starting PostgreSQL, inserting users")
    others = psutil.cpu_percent(1)
    with TemporaryDirectory(prefix="audifi-bench-") as folder, database.running() as postgres:
        bench = Bench(
            plan=QUICK if arguments.quick else FULL,
            contenders=[each for each in CONTENDERS if each.name in arguments.contenders],
            workloads=[each for each in WORKLOADS if each.name in arguments.workloads],
            database=database.create(postgres),
            folder=Path(folder),
            log=log,
        )
        parts = arguments.parts
        samples, memory = measure.throughput(bench) if "load" in parts else ([], {})
        return Results(
            samples=samples,
            starts=footprint.starts(bench) if "start" in parts else {},
            memory=memory,
            statements=footprint.statements(bench, postgres) if "statements" in parts else {},
            transactions_per_read=footprint.transactions_per_read(bench) if "statements" in parts else {},
            about=about(others),
        )


def about(others: float) -> dict[str, str]:
    """Describe the run; `others` is the share of the machine, in per cent, that was busy before it."""
    node_packages = json.loads((PEERS / "package.json").read_text())["dependencies"]
    python_packages = dict(
        line.removesuffix(" \\").split("==")
        for line in (PEERS / "requirements.lock").read_text().splitlines()
        if "==" in line
    )
    versions = [
        f"Python {platform.python_version()}",
        *(f"{name} {python_packages[name]}" for name in PYTHON_PACKAGES),
        f"Node {output(NODE, '--version').removeprefix('v')}",
        *(f"{name} {node_packages[name]}" for name in NODE_PACKAGES),
    ]
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "commit": output("git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"),
        "cores": str(os.cpu_count()),
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
