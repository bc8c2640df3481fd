from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from audifi.core.files.store import FileStore
from dev.postgres import Postgres
from tests.royalties.statements import Label, file_store
from tests.support import app as apps
from tests.support import databases
from tests.support.app import App
from tests.support.sendgrid import SendGrid


@pytest.fixture(scope="session")
def shared_app(postgres_server: Postgres, shared_sendgrid: SendGrid, storage: Mapping[str, str]) -> Iterator[App]:
    """An app with a storage, and with a database of its own: other apps must not take its jobs."""
    url = databases.create_database(postgres_server, databases.TEMPLATE)
    settings: dict[str, Any] = {name.lower(): value for name, value in storage.items()}
    with apps.running(url, sendgrid_url=shared_sendgrid.url, **settings) as app:
        yield app


@pytest.fixture
def label(app: App, sendgrid: SendGrid) -> Label:
    """An artist, who offers no master yet."""
    return Label.sign_in(app, sendgrid)


@pytest.fixture
def other(app: App, sendgrid: SendGrid) -> Label:
    """Another artist."""
    return Label.sign_in(app, sendgrid)


@pytest.fixture
def files(storage: Mapping[str, str]) -> FileStore:
    return file_store(storage)
