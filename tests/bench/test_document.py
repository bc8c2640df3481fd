import pytest

from bench import document
from bench.report import Table


def test_what_a_person_wrote_around_the_tables_stays() -> None:
    before = f"# Title\n\n{document.BEGIN}\n\nold\n\n{document.END}\n\nMore.\n"

    after = document.put(before, "new")

    assert after == before.replace("old", "new")


def test_a_document_without_its_markers_is_not_overwritten() -> None:
    with pytest.raises(ValueError, match="markers"):
        document.put("# Title\n", "new")


def test_a_table_is_written_as_markdown() -> None:
    assert Table("A", ["b", "c"], [["1", "2"]]).markdown() == "### A\n\n| b | c |\n| --- | --- |\n| 1 | 2 |"
