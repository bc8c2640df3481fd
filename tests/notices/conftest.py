from collections.abc import Iterator

import pytest

from dev.postgres import Postgres
from tests.ipos.offerings import Offering, approved_master
from tests.subscriptions.accounts import with_plan
from tests.support import app as apps
from tests.support import databases
from tests.support.app import App
from tests.support.clients import Client
from tests.support.sendgrid import SendGrid


@pytest.fixture(scope="session")
def shared_app(postgres_server: Postgres, shared_sendgrid: SendGrid) -> Iterator[App]:
    """An app with a database of its own: the events of other features' tests have no notices."""
    url = databases.create_database(postgres_server, databases.TEMPLATE)
    with apps.running(url, sendgrid_url=shared_sendgrid.url) as app:
        yield app


@pytest.fixture
def offering(app: App, client: Client, sendgrid: SendGrid) -> Offering:
    """An approved master of a signed-in artist, whose plan has royalties of the artist's own."""
    artist = with_plan(app.database_url, client.sign_in())
    return Offering(app=app, sendgrid=sendgrid, artist=artist, master_id=approved_master(app, artist))
