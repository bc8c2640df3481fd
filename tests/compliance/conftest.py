from collections.abc import Iterator

import pytest

from dev.postgres import Postgres
from tests.compliance.rules import switch_off
from tests.ipos.offerings import Offering, approved_master, make_admin
from tests.support import app as apps
from tests.support import databases
from tests.support.app import App
from tests.support.clients import Client
from tests.support.sendgrid import SendGrid


@pytest.fixture(scope="session")
def shared_app(postgres_server: Postgres, shared_sendgrid: SendGrid) -> Iterator[App]:
    """An app with a database of its own: the rules are for all accounts."""
    url = databases.create_database(postgres_server, databases.TEMPLATE)
    with apps.running(url, sendgrid_url=shared_sendgrid.url) as app:
        yield app


@pytest.fixture
def admin(app: App, sendgrid: SendGrid) -> Iterator[Client]:
    """An administrator, whose rules are off again after the test."""
    yield make_admin(app, Client(app.http, sendgrid).sign_in())
    switch_off(app.database_url)


@pytest.fixture
def offering(app: App, client: Client, sendgrid: SendGrid) -> Offering:
    """An approved master of a signed-in artist."""
    artist = client.sign_in()
    return Offering(app=app, sendgrid=sendgrid, artist=artist, master_id=approved_master(app, artist))
