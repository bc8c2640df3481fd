"""The texts that the rehearsal replaces exist in the code. The rehearsal itself would notice late: it runs rarely."""

import pytest

from tests.support.api import ROOT
from tools.rehearsal.tests.test_rehearsal import BROKEN


@pytest.mark.parametrize(("path", "old"), [(path, old) for path, old, _ in BROKEN])
def test_replaced_text_occurs_once_in_the_file(path: str, old: str) -> None:
    assert (ROOT / path).read_text().count(old) == 1
