import os
from collections.abc import Iterator

import pytest

from tools.stripe_stand_in.tests import shop as shops
from tools.stripe_stand_in.tests.shop import Shop

KEY, ADDRESS = os.environ.get("STRIPE_CONTRACT_KEY"), os.environ.get("STRIPE_CONTRACT_API_BASE")
"""`make stripe-contract`: Stripe's test mode instead of the stand-in."""


@pytest.fixture
def shop() -> Iterator[Shop]:
    if KEY:
        with shops.at_stripe(KEY, **({"base_addresses": {"api": ADDRESS}} if ADDRESS else {})) as shop:
            yield shop
    else:
        with shops.opened() as shop:
            yield shop
