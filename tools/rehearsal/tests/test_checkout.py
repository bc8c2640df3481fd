"""What the rehearsal is told of the code, held against it: it runs seldom, and would find out late."""

import pytest

from tests.support.api import ROOT
from tools.rehearsal.tests.test_rehearsal import BROKEN


@pytest.mark.parametrize(("path", "old"), [(path, old) for path, old, _ in BROKEN])
def test_what_the_rehearsal_breaks_is_there_to_be_broken(path: str, old: str) -> None:
    assert (ROOT / path).read_text().count(old) == 1
