from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from dev.postgres import Postgres
from tests.masters.requests import make_admin
from tests.subscriptions.accounts import with_plan
from tests.support import app as apps
from tests.support import databases
from tests.support.app import App
from tests.support.clients import Client
from tests.support.sendgrid import SendGrid


@pytest.fixture(scope="session")
def shared_app(postgres_server: Postgres, shared_sendgrid: SendGrid, storage: Mapping[str, str]) -> Iterator[App]:
    """An app with a storage, and with a database of its own: other apps must not take its jobs."""
    url = databases.create_database(postgres_server, databases.TEMPLATE)
    settings: dict[str, Any] = {name.lower(): value for name, value in storage.items()}
    with apps.running(url, sendgrid_url=shared_sendgrid.url, **settings) as app:
        yield app


@pytest.fixture
def artist(app: App, client: Client) -> Client:
    """An artist whose plan has no limit of masters."""
    return with_plan(app.database_url, client.sign_in())


@pytest.fixture
def stranger(app: App, sendgrid: SendGrid) -> Client:
    return Client(app.http, sendgrid).sign_in()


@pytest.fixture
def admin(app: App, sendgrid: SendGrid) -> Client:
    return make_admin(app.database_url, Client(app.http, sendgrid).sign_in())
