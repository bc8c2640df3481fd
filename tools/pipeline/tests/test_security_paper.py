"""docs/security.md names tests as evidence; they must exist."""

import re

import pytest

from tests.support.api import ROOT

NAMED = sorted(set(re.findall(r"`(test_\w+)`", (ROOT / "docs" / "security.md").read_text())))


@pytest.mark.parametrize("name", NAMED)
def test_evidence_names_an_existing_test(name: str) -> None:
    definition = re.compile(rf"^def {name}\(", re.MULTILINE)

    assert any(
        definition.search(file.read_text())
        for file in (path for folder in ("tests", "tools") for path in (ROOT / folder).rglob("test_*.py"))
    )


def test_every_claim_has_evidence() -> None:
    assert len(NAMED) > 30
    assert "{" not in (ROOT / "docs" / "security.md").read_text()
