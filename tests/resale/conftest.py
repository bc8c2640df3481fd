import pytest

from tests.ipos.offerings import Offering, approved_master
from tests.resale.markets import Market, open_market
from tests.subscriptions.accounts import with_plan
from tests.support.app import App
from tests.support.clients import Client
from tests.support.sendgrid import SendGrid


@pytest.fixture
def offering(app: App, client: Client, sendgrid: SendGrid) -> Offering:
    """An approved master of a signed-in artist, whose plan has royalties of the artist's own."""
    artist = with_plan(app.database_url, client.sign_in())
    return Offering(app=app, sendgrid=sendgrid, artist=artist, master_id=approved_master(app, artist))


@pytest.fixture
def market(offering: Offering) -> Market:
    """A completed offering with the default royalty."""
    return open_market(offering)
