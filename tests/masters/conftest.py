import pytest

from tests.masters.requests import make_admin
from tests.support.app import App
from tests.support.clients import Client
from tests.support.sendgrid import SendGrid


@pytest.fixture
def artist(client: Client) -> Client:
    return client.sign_in()


@pytest.fixture
def stranger(app: App, sendgrid: SendGrid) -> Client:
    return Client(app.http, sendgrid).sign_in()


@pytest.fixture
def admin(app: App, sendgrid: SendGrid) -> Client:
    return make_admin(app.database_url, Client(app.http, sendgrid).sign_in())
