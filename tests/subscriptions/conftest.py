from collections.abc import Iterator

import pytest

from dev.postgres import Postgres
from tests.payments import shops
from tests.payments.shops import Shop
from tests.subscriptions.buying import Buyer, sell
from tests.support import databases
from tests.support.sendgrid import SendGrid


@pytest.fixture(scope="session")
def shared_plan_shop(postgres_server: Postgres, shared_sendgrid: SendGrid) -> Iterator[Shop]:
    """A shop that sells plans, with a database of its own."""
    url = databases.create_database(postgres_server, databases.TEMPLATE)
    with shops.running(url, shared_sendgrid) as shop:
        sell(shop)
        Buyer(shop).subscribe("ENTERPRISE")
        yield shop


@pytest.fixture
def shop(shared_plan_shop: Shop, sendgrid: SendGrid) -> Iterator[Shop]:  # noqa: ARG001 - it repairs what a test broke
    """The shop. All tests have the same cards, so each begins without a memory of them."""
    shared_plan_shop.execute("UPDATE trial_uses SET card_hash = NULL")
    yield shared_plan_shop
    shared_plan_shop.stand_in.do("recover")
    shared_plan_shop.stand_in.do("disturb")
    subscriptions = shared_plan_shop.stripe.v1.subscriptions
    for left in subscriptions.list({"limit": 100}).data:  # they would renew while other tests move the clock
        if left.status != "incomplete_expired":
            subscriptions.cancel(left.id)
    shared_plan_shop.settle()
    shared_plan_shop.app.check_invariants()


@pytest.fixture
def buyer(shop: Shop) -> Buyer:
    return Buyer(shop)
