from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from tools.bench import document, picture, report
from tools.bench.ratios import Memory, Results, Statements
from tools.bench.report import Table
from tools.bench.tests.test_ratios import NOTHING, sample

ABOUT = {"date": "2026-01-31", "commit": "1a2b3c4", "cores": "2", "cpu": "machine", "versions": "…", "others": "5 %"}


def results() -> Results:
    return replace(
        NOTHING,
        samples=[sample("audifi", 0, 300), sample("express", 0, 200, failed=7)],
        statements={"audifi": {"read": Statements(statements=1, round_trips=2)}},
        transactions_per_read={"audifi": 0.25},
        memory={"audifi": Memory(idle_mb=80, after_mb=100, requests=12_345)},
        starts={"audifi": [1.0], "express": [0.5]},
        about=ABOUT,
    )


def test_text_around_the_markers_stays() -> None:
    before = f"# Title\n\n{document.BEGIN}\n\nold\n\n{document.END}\n\nMore.\n"

    assert document.replace_between_markers(before, "new") == before.replace("old", "new")


def test_document_without_markers_is_kept() -> None:
    with pytest.raises(ValueError, match="markers"):
        document.replace_between_markers("# Title\n", "new")


def test_table_as_markdown() -> None:
    assert Table("A", ["b", "c"], [["1", "2"]]).markdown() == "### A\n\n| b | c |\n| --- | --- |\n| 1 | 2 |"


def test_page_and_picture_show_the_results(tmp_path: Path) -> None:
    (tmp_path / "performance.md").write_text(f"{document.BEGIN}\n{document.END}\n")

    document.write(results(), tmp_path)

    page = (tmp_path / "performance.md").read_text()
    assert "Run on 2026-01-31 at commit 1a2b3c4 on 2 cores (machine)" in page
    assert "| read of one row: throughput of Express | ≥ 1.1 x | 1.50 | met |" in page
    assert "| read of one row | Express | 1.50 | 1.00 | 1.00 | 1.00 |" in page
    assert "| Express | 2.00 |" in page
    assert "| this server | 80 | 100 | 12,345 |" in page
    assert "| this server |  |  |  | 1 / 2 |  | 0.25 |" in page
    assert "| this server |  |  |  | 3% / 50% |  |" in page
    assert "| Express | read of one row | 7 of 100 |" in page
    assert "read of one row : Express" in (tmp_path / "performance.svg").read_text()


def test_picture_says_which_side_is_faster() -> None:
    left, right = Figure().subplots(1, 2)
    picture.panel(left, results(), "per_second", "requests/s", is_more_better=True)
    picture.panel(right, results(), "p99_ms", "p99", is_more_better=False)

    assert {text.get_text().strip(" ←→"): text.get_ha() for text in left.texts} == {"slower": "right", "faster": "left"}
    assert {text.get_text().strip(" ←→"): text.get_ha() for text in right.texts} == {
        "faster": "right",
        "slower": "left",
    }


def test_missing_measurements_have_no_table() -> None:
    titles = [table.title for table in report.tables(replace(results(), memory={}))]

    assert "Aims" in titles
    assert "Memory (RSS) in MB" not in titles
