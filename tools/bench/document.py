"""What of docs/performance.md is written by the full run."""

from pathlib import Path
from typing import Any

from tools.bench import picture, report

BEGIN = "<!-- `make bench` writes what follows. -->"
END = "<!-- `make bench` wrote what comes before. -->"

PICTURE = "![Ratios of throughput and p99 at 64 connections](performance.svg)"


def write(results: dict[str, Any], folder: Path) -> list[Path]:
    """Put the tables between the markers of performance.md and draw performance.svg, both in `folder`."""
    document, drawing = folder / "performance.md", folder / "performance.svg"
    document.write_text(put(document.read_text(), body(results)))
    picture.draw(results["samples"], drawing)
    return [document, drawing]


def body(results: dict[str, Any]) -> str:
    about = results["about"]
    told = (
        f"Run on {about['date']}, at commit {about['commit']}, on {about['cores']} cores ({about['cpu']});"
        f" {about['versions']}. Before the run, other programs kept {about['others']} of the machine busy."
    )
    return "\n\n".join([PICTURE, told, *(table.markdown() for table in report.tables(results))])


def put(document: str, between: str) -> str:
    """
    Raises:
        ValueError: a marker is missing.
    """
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError("docs/performance.md has lost its markers")
    return f"{before}{BEGIN}\n\n{between}\n\n{END}{after}"
