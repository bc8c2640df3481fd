"""One app for each worker, which its tests share: each has addresses and clients of its own."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, Protocol

import pytest

from tests.support import app as apps
from tests.support import sendgrid as sendgrids
from tests.support.app import App
from tests.support.clients import Browser, Client
from tests.support.sendgrid import SendGrid


@pytest.fixture(scope="session")
def shared_sendgrid() -> Iterator[SendGrid]:
    with sendgrids.running() as sendgrid:
        yield sendgrid


@pytest.fixture
def sendgrid(shared_sendgrid: SendGrid) -> Iterator[SendGrid]:
    """Where mails arrive. Tests may have it fail or hang."""
    yield shared_sendgrid
    shared_sendgrid.status, shared_sendgrid.seconds = 202, 0


@pytest.fixture(scope="session")
def shared_app(database_url: str, shared_sendgrid: SendGrid) -> Iterator[App]:
    with apps.running(database_url, sendgrid_url=shared_sendgrid.url) as app:
        yield app


@pytest.fixture
def app(shared_app: App) -> Iterator[App]:
    """The app. Its clock can be moved; afterwards it is right again."""
    yield shared_app
    shared_app.clock.ahead *= 0


class StartApp(Protocol):
    """Starts another app; it ends with the test. Values are the settings that differ."""

    def __call__(self, database_url: str, **values: Any) -> App: ...


@pytest.fixture
def start_app(sendgrid: SendGrid) -> Iterator[Callable[..., App]]:
    with ExitStack() as stack:

        def start(database_url: str, **values: Any) -> App:
            return stack.enter_context(apps.running(database_url, sendgrid_url=sendgrid.url, **values))

        yield start


@pytest.fixture
def client(app: App, sendgrid: SendGrid) -> Client:
    """A native app with an address that has no account yet."""
    return Client(app.http, sendgrid)


@pytest.fixture
def browser(app: App, sendgrid: SendGrid) -> Browser:
    """A browser, of somebody without an account."""
    return Browser(app.http, sendgrid)
