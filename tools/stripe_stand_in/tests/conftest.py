from collections.abc import Iterator

import pytest

from tools.stripe_stand_in.tests import shop as shops
from tools.stripe_stand_in.tests.shop import Shop


@pytest.fixture
def shop() -> Iterator[Shop]:
    with shops.opened() as shop:
        yield shop
