"""`make bench-ledger`: the ledger and the offerings, as ratios of one run, in a few minutes.

Writes the table of "Ledger and offerings" in docs/performance.md.
"""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from dev.postgres import PostgresError
from tests.support.api import ROOT, environment
from tools.bench import database
from tools.bench.__main__ import cpu, output
from tools.bench.contenders import CONTENDERS, Contender, StartError
from tools.bench.document import replace_between_markers
from tools.bench.ledger import seed
from tools.bench.ledger.figures import Bench, measure
from tools.bench.ledger.seed import Sizes
from tools.bench.load import LoadError
from tools.bench.measure import Log
from tools.bench.ratios import OURS, Aim

BEGIN = "<!-- `make bench-ledger` writes the text from here -->"
END = "<!-- `make bench-ledger` writes the text up to here -->"
SETTINGS = database.POSTGRES_SETTINGS | {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}
"""As in production: a row that is updated stays locked until the commit is on the disk."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench-ledger", description="See the module's docstring.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5, help="of each part of a round (%(default)s)")
    options = parser.parse_args()
    began = time.monotonic()

    def log(text: str) -> None:
        print(f"{time.monotonic() - began:5.0f} s  {text}", flush=True)

    load = f"{os.getloadavg()[0]:.1f}"
    try:
        figures = run(seed.FULL, rounds=options.rounds, seconds=options.seconds, log=log)
    except (LoadError, StartError, PostgresError) as error:
        sys.exit(f"make bench-ledger: {error}")
    document = ROOT / "docs" / "performance.md"
    document.write_text(replace_between_markers(document.read_text(), text_of(figures, load), begin=BEGIN, end=END))


def run(sizes: Sizes, *, rounds: int, seconds: int, log: Log) -> list[Aim]:
    """Return the figures of a new database."""
    log("starting PostgreSQL, inserting rows")
    with (
        TemporaryDirectory(prefix="audifi-bench-") as folder,
        database.running(pinned=False, settings=SETTINGS) as postgres,
    ):
        created = database.create(postgres, sizes.users)
        seed.insert(created.local_url, sizes)
        log("measuring")
        return measure(
            Bench(
                postgres=postgres,
                database=created,
                server=this_server(),
                folder=Path(folder),
                sizes=sizes,
                rounds=rounds,
                seconds=seconds,
                log=log,
            )
        )


def this_server() -> Contender:
    """Return the benchmark's server, with the packages of this environment: only its ratios are used."""
    ours = next(contender for contender in CONTENDERS if contender.name == OURS)
    return replace(ours, command=(sys.executable, "-m", "audifi.serve"), environment=environment() | ours.environment)


def text_of(figures: Sequence[Aim], load: str) -> str:
    """Return a line about the run, and the table."""
    commit = output("git", "-C", str(ROOT), "rev-parse", "--short", "HEAD")
    run = f"Run on {datetime.now(UTC):%Y-%m-%d} at commit {commit} on {psutil.cpu_count()} cores ({cpu()})"
    lines = [
        f"{run}. Before the run, the load average was {load}.",
        "",
        "|  | aim | measured |  |",
        "| --- | --- | --- | --- |",
    ]
    for figure in figures:
        result = ("met" if figure.met else "not met") if figure.bound else ""
        lines.append(f"| {figure.text} | {figure.bound} | {figure.spread} | {result} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
