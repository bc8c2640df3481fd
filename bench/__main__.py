"""`make bench`: this server beside others, as ratios of one run."""

import argparse
import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console

from bench import database, measure, report
from bench.contenders import CONTENDERS, StartError
from bench.load import WORKLOADS, LoadError
from bench.measure import FULL, QUICK, Bench
from dev.postgres import PostgresError

RESULTS = Path(__file__).parent / "results"
PARTS = "load start memory trips".split()
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
    say(f"all figures: {file.relative_to(Path.cwd())}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="in two minutes, with less to rely on")
    parser.add_argument("--only", type=names([each.name for each in WORKLOADS]), metavar="health,me,write,401")
    parser.add_argument("--contenders", type=names([each.name for each in CONTENDERS]), metavar="audifi,fastify,…")
    parser.add_argument("--parts", type=names(PARTS), default=PARTS, metavar=",".join(PARTS))
    return parser.parse_args()


def names(known: list[str]) -> Any:
    def read(text: str) -> list[str]:
        given = text.split(",")
        if unknown := set(given) - set(known):
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
        return given

    return read


def run(given: argparse.Namespace, say: measure.Say) -> dict[str, Any]:
    plan = QUICK if given.quick else FULL
    say("starting PostgreSQL, making users")
    with TemporaryDirectory(prefix="audifi-bench-") as folder, database.running() as server:
        bench = Bench(
            plan=plan,
            contenders=[each for each in CONTENDERS if given.contenders is None or each.name in given.contenders],
            workloads=[each for each in WORKLOADS if given.only is None or each.name in given.only],
            database=database.create(server, USERS),
            folder=Path(folder),
            say=say,
        )
        results: dict[str, Any] = {"samples": [], "starts": {}, "memory": {}, "trips": {}}
        if "load" in given.parts:
            results["samples"] += measure.throughput(bench)
        if "start" in given.parts:
            results["starts"] = measure.starts(bench)
        if "memory" in given.parts:
            results["memory"] = measure.memory(bench)
        if "trips" in given.parts:
            results["trips"] = measure.trips(bench, server)
        return results


if __name__ == "__main__":
    main()
