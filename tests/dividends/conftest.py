import pytest

from dev.postgres import Postgres
from tests.ipos.conftest import offering
from tests.support import databases

__all__ = ["offering"]


@pytest.fixture(scope="session")
def dividends_url(postgres_server: Postgres) -> str:
    """A migrated database that the tests of this worker share. No server runs on it."""
    return databases.create_database(postgres_server, databases.TEMPLATE)
