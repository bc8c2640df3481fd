from pathlib import Path
from typing import Any

import pytest

from tools.bench import document, report
from tools.bench.report import Table
from tools.bench.tests.test_ratios import sample


def test_what_a_person_wrote_around_the_tables_stays() -> None:
    before = f"# Title\n\n{document.BEGIN}\n\nold\n\n{document.END}\n\nMore.\n"

    after = document.put(before, "new")

    assert after == before.replace("old", "new")


def test_a_document_without_its_markers_is_not_overwritten() -> None:
    with pytest.raises(ValueError, match="markers"):
        document.put("# Title\n", "new")


def test_a_table_is_written_as_markdown() -> None:
    assert Table("A", ["b", "c"], [["1", "2"]]).markdown() == "### A\n\n| b | c |\n| --- | --- |\n| 1 | 2 |"


def results() -> dict[str, Any]:
    about = {"date": "2026-01-31", "commit": "1a2b3c4", "cores": 2, "cpu": "machine", "versions": "…", "others": "5 %"}
    nothing: dict[str, Any] = {"one_token": [], "growth": [], "processes": [], "starts": {}, "memory": {}, "trips": {}}
    samples = [sample("audifi", 0, 300), sample("express", 0, 200, failed=7)]
    return {**nothing, "samples": samples, "about": about}


def test_the_page_and_its_picture_tell_the_ratios_and_what_failed(tmp_path: Path) -> None:
    (tmp_path / "performance.md").write_text(f"{document.BEGIN}\n{document.END}\n")

    document.write(results(), tmp_path)

    page = (tmp_path / "performance.md").read_text()
    assert "| authenticated read: throughput of Express | ≥ 1.5 x | 1.50 (1.50 to 1.50) | met |" in page
    assert "| authenticated read | Express, Drizzle, pg | 1.50 (1.50 to 1.50) |" in page
    assert "| Express, Drizzle, pg | authenticated read | 64 | 7 of 100 |" in page
    assert "authenticated read : Express, Drizzle, pg" in (tmp_path / "performance.svg").read_text()


def test_parts_that_were_not_measured_have_no_table() -> None:
    titles = [table.title for table in report.tables(results())]

    assert "Aims" in titles
    assert "Memory in MB: RSS / PSS / USS" not in titles
