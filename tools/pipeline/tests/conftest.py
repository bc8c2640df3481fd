from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.pipeline.fake_fly import FakeFly, fake_fly


@pytest.fixture
def fly(tmp_path: Path) -> Iterator[FakeFly]:
    """An app that serves OLD, and serves NEW after a deploy."""
    with fake_fly(tmp_path) as fake:
        yield fake
