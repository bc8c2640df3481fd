import gc
import os
import signal
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import hypothesis
import pytest

from dev.postgres import Postgres
from tests.support import api, databases, files
from tests.support import app as apps
from tests.support import sendgrid as sendgrids
from tests.support.api import Api
from tests.support.app import App
from tests.support.clients import Browser, Client
from tests.support.sendgrid import SendGrid

SERVER = pytest.StashKey[ExitStack]()

# Tests share the CPU with servers, so Hypothesis must not limit the duration of an example. Each run has the same
# examples, so that a change fails by its own faults alone; `--hypothesis-profile=random` looks for others.
RELAXED = hypothesis.settings(deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.register_profile("random", RELAXED)
hypothesis.settings.register_profile("same", RELAXED, derandomize=True)
hypothesis.settings.load_profile("same")


def pytest_configure(config: pytest.Config) -> None:
    """Start the one PostgreSQL that all workers share, before they start."""
    # A background shell ignores SIGINT (POSIX, 2.11), and child processes inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if "PYTEST_XDIST_WORKER" in os.environ or config.option.collectonly:
        return
    stack = config.stash[SERVER] = ExitStack()
    stack.enter_context(files.shared())
    # All workers keep the pools of all their apps.
    server = stack.enter_context(databases.own_server(max_connections="600"))
    if failure := databases.make_template(server):
        raise pytest.UsageError(f"the test database can't be migrated:\n{failure}")
    os.environ["TEST_POSTGRES"] = f"{server.socket_folder}:{server.port}:{server.pid}"


def pytest_collection_finish() -> None:
    """Keep what was collected out of garbage collections, which would look at it again and again."""
    gc.freeze()


def pytest_sessionfinish() -> None:
    databases.idle_sessions.close()


def pytest_unconfigure(config: pytest.Config) -> None:
    if SERVER in config.stash:
        config.stash[SERVER].close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the running servers to the report of a failure."""
    report = yield
    if report.failed:
        report.sections += [(f"server at {running.url}", running.state()) for running in api.RUNNING]
    return report


@pytest.fixture(scope="session")
def postgres_server() -> Postgres:
    """The shared server. Don't stop or freeze it; use `own_postgres` for that."""
    folder, port, pid = os.environ["TEST_POSTGRES"].split(":")
    return Postgres(socket_folder=Path(folder), port=int(port), pid=int(pid))


@pytest.fixture(scope="session")
def database_url(postgres_server: Postgres) -> str:
    """A migrated database that the tests of this worker share; they don't rely on its rows."""
    return databases.create_database(postgres_server, databases.TEMPLATE)


@pytest.fixture
def migrated_database_url(postgres_server: Postgres) -> str:
    """A separate database at the newest revision."""
    return databases.create_database(postgres_server, databases.TEMPLATE)


@pytest.fixture
def empty_database_url(postgres_server: Postgres) -> str:
    """A separate database without tables."""
    return databases.create_database(postgres_server)


@pytest.fixture
def own_postgres() -> Iterator[Postgres]:
    """A separate server to break. It also listens on 127.0.0.1, with the password `secret`."""
    with databases.own_server(api.free_port()) as server:
        databases.execute(server.url(), "ALTER USER postgres PASSWORD 'secret'")
        rules = Path(str(databases.fetch_value(server.url(), "SHOW hba_file")))
        rules.write_text("local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n")
        databases.execute(server.url(), "SELECT pg_reload_conf()")
        yield server


class StartApi(Protocol):
    """Starts the API; it ends with the test."""

    def __call__(self, database_url: str, *, module: str = ..., **variables: str) -> Api: ...


@pytest.fixture
def start_api(tmp_path: Path) -> Iterator[Callable[..., Api]]:
    with ExitStack() as stack:

        def start(database_url: str, *, module: str = "audifi.serve", **variables: str) -> Api:
            return stack.enter_context(api.running(tmp_path, module, DATABASE_URL=database_url, **variables))

        yield start


@pytest.fixture(scope="session")
def health_api(tmp_path_factory: pytest.TempPathFactory, postgres_server: Postgres) -> Iterator[Api]:
    """A server that read-only tests share.

    It has a separate database: otherwise it would run other servers' jobs, and print their emails, not send them.
    """
    url = databases.create_database(postgres_server, databases.TEMPLATE)
    with api.running(tmp_path_factory.mktemp("api"), DATABASE_URL=url) as running:
        yield running


@pytest.fixture(scope="session")
def shared_sendgrid() -> Iterator[SendGrid]:
    with sendgrids.running() as sendgrid:
        yield sendgrid


@pytest.fixture
def sendgrid(shared_sendgrid: SendGrid) -> Iterator[SendGrid]:
    """The server that receives emails. Tests may let it fail or hang."""
    yield shared_sendgrid
    shared_sendgrid.status, shared_sendgrid.seconds = 202, 0
    shared_sendgrid.on_mail = lambda _mail: None


@pytest.fixture(scope="session")
def storage() -> Mapping[str, str]:
    """The settings for the object storage that all tests share. Its names are unique: tests don't meet there."""
    return files.variables()


@pytest.fixture(scope="session")
def shared_app(database_url: str, shared_sendgrid: SendGrid) -> Iterator[App]:
    with apps.running(database_url, sendgrid_url=shared_sendgrid.url) as app:
        yield app


@pytest.fixture
def app(shared_app: App) -> Iterator[App]:
    """The app. Its clock can be moved and is reset after the test."""
    yield shared_app
    shared_app.clock.reset()
    shared_app.check_invariants()


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
    """A native app whose address has no account yet."""
    return Client(app.http, sendgrid)


@pytest.fixture
def browser(app: App, sendgrid: SendGrid) -> Browser:
    """A browser whose address has no account yet."""
    return Browser(app.http, sendgrid)
