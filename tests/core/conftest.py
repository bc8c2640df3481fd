from collections.abc import Iterator

import httpx2
import pytest

from tests.support import edge_app


@pytest.fixture(scope="module")
def client(database_url: str) -> Iterator[httpx2.Client]:
    """Asks an app behind the real edge, with routes that go wrong in each way."""
    with (
        edge_app.running(edge_app.create(database_url)) as port,
        httpx2.Client(base_url=f"http://127.0.0.1:{port}/v1", timeout=200) as client,
    ):
        yield client
