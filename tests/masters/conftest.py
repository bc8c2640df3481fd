import pytest

from tests.support.app import App
from tests.support.clients import Client
from tests.support.sendgrid import SendGrid


@pytest.fixture
def artist(client: Client) -> Client:
    return client.sign_in()


@pytest.fixture
def stranger(app: App, sendgrid: SendGrid) -> Client:
    return Client(app.http, sendgrid).sign_in()
