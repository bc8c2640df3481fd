import pytest

from dev.postgres import Postgres
from tests.support import databases


@pytest.fixture(scope="session")
def funding_url(postgres_server: Postgres) -> str:
    """A migrated database that the tests of this worker share. No server runs on it."""
    return databases.create_database(postgres_server, databases.TEMPLATE)
