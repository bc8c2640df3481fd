"""docs/architecture.svg."""

from itertools import pairwise
from xml.etree import ElementTree as ET

from tests.support.api import ROOT

SVG = "{http://www.w3.org/2000/svg}"
PICTURE = ET.parse(ROOT / "docs" / "architecture.svg")  # noqa: S314 - ours


def texts(name: str) -> list[tuple[float, float, str]]:
    """Return the texts of a class with their places, by rows from the left to the right."""
    elements = [each for each in PICTURE.iter(f"{SVG}text") if each.get("class") == name]
    return sorted((float(each.attrib["y"]), float(each.attrib["x"]), "".join(each.itertext())) for each in elements)


def test_steps_are_numbered_in_reading_order() -> None:
    numbers = [int(number) for *_, number in texts("number")]

    assert numbers == list(range(1, len(numbers) + 1))


def test_image_passes_the_registry_before_it_runs() -> None:
    names = [name for *_, name in texts("name")]

    steps = ["Build & Test", "Deploy", "Registry", "Release machine", "Machines", "Verify"]
    assert all(names.index(before) < names.index(after) for before, after in pairwise(steps))
    assert len(texts("number")) == len(set(names) - {"PostgreSQL 16"})
