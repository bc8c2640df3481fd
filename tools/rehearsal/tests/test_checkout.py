"""What the rehearsal is told of the code, held against it: it runs seldom, and would find out late."""

import pytest

from tests.support.api import ROOT
from tools.rehearsal.tests.test_rehearsal import BROKEN


@pytest.mark.parametrize(("path", "old"), [(path, old) for path, old, _ in BROKEN])
def test_replaced_text_occurs_once_in_the_file(path: str, old: str) -> None:
    assert (ROOT / path).read_text().count(old) == 1
