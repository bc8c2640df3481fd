from collections.abc import Iterator

import pytest

from dev.postgres import Postgres
from tests.payments import shops
from tests.payments.shops import Shop
from tests.support import databases
from tests.support.clients import Client
from tests.support.sendgrid import SendGrid


@pytest.fixture(scope="session")
def shared_shop(postgres_server: Postgres, shared_sendgrid: SendGrid) -> Iterator[Shop]:
    """A shop with a database of its own: other apps must not take its jobs."""
    url = databases.create_database(postgres_server, databases.TEMPLATE)
    with shops.running(url, shared_sendgrid) as shop:
        yield shop


@pytest.fixture
def shop(shared_shop: Shop, sendgrid: SendGrid) -> Iterator[Shop]:  # noqa: ARG001 - it repairs what a test broke
    """The shop. What is disturbed is repaired after the test, and the invariants are checked."""
    yield from repaired(shared_shop)


@pytest.fixture
def own_shop(postgres_server: Postgres, sendgrid: SendGrid) -> Iterator[Shop]:
    """A shop for this test alone: others leave differences between the ledger and Stripe."""
    url = databases.create_database(postgres_server, databases.TEMPLATE)
    with shops.running(url, sendgrid) as shop:
        yield from repaired(shop)


def repaired(shop: Shop) -> Iterator[Shop]:
    yield shop
    shop.stand_in.do("recover")
    shop.stand_in.do("disturb")
    shop.settle()
    shop.app.check_invariants()


@pytest.fixture
def fan(shop: Shop) -> Client:
    return shop.fan()
