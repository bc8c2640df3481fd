"""Writes the generated part of docs/performance.md, after a full run."""

from pathlib import Path

from tools.bench import picture, report
from tools.bench.ratios import Results

BEGIN = "<!-- `make bench` writes the text from here -->"
END = "<!-- `make bench` writes the text up to here -->"
PICTURE = "![Ratios of throughput and p99 at 64 connections](performance.svg)"


def write(results: Results, folder: Path) -> list[Path]:
    """Put the tables between the markers of performance.md and draw performance.svg, both in `folder`."""
    document, drawing = folder / "performance.md", folder / "performance.svg"
    document.write_text(replace_between_markers(document.read_text(), body(results)))
    picture.draw(results, drawing)
    return [document, drawing]


def body(results: Results) -> str:
    about = results.about
    run = (
        f"Run on {about['date']} at commit {about['commit']} on {about['cores']} cores ({about['cpu']});"
        f" {about['versions']}. Before the run, other programs kept {about['others']} of the machine busy."
    )
    return "\n\n".join([PICTURE, run, *(table.markdown() for table in report.tables(results))])


def replace_between_markers(document: str, text: str, *, begin: str = BEGIN, end: str = END) -> str:
    """
    Raises:
        ValueError: a marker is missing.
    """
    before, has_begin, rest = document.partition(begin)
    _, has_end, after = rest.partition(end)
    if not (has_begin and has_end):
        raise ValueError("docs/performance.md has lost its markers")
    return f"{before}{begin}\n\n{text}\n\n{end}{after}"
