import asyncio
from uuid import uuid4

import pytest

from dev.postgres import Postgres
from tests.ledger import ledgers
from tests.support import databases


@pytest.fixture(scope="session")
def ledger_url(postgres_server: Postgres) -> str:
    """A migrated database that the ledger's tests of this worker share. No server runs on it."""
    return databases.create_database(postgres_server, databases.TEMPLATE)


@pytest.fixture(scope="module")
def filled_url(postgres_server: Postgres) -> str:
    """A database of a module, in which Ana has 60, of which 10 are held, Ben 40 and Zoe 5."""
    url = databases.create_database(postgres_server, databases.TEMPLATE)

    async def fill() -> None:
        async with databases.connect_pools(url) as database:
            ana, ben, zoe = (ledgers.available(uuid4()) for _ in range(3))
            await ledgers.deposit(database, ana, 100)
            await ledgers.move(database, ana, ben, 40)
            await ledgers.hold(database, ana, 10)
            await ledgers.deposit(database, zoe, 5)

    asyncio.run(fill())
    return url
