"""Transactions are committed before the response leaves."""

from concurrent.futures import ThreadPoolExecutor

from tests.support import databases, patient
from tests.support.fixtures import StartApi

TABLE = "CREATE TABLE marks (name text UNIQUE DEFERRABLE INITIALLY DEFERRED)"
MARKS = "SELECT string_agg(name, ' ' ORDER BY name) FROM marks"


def test_only_successful_requests_write(start_api: StartApi, empty_database_url: str) -> None:
    databases.execute(empty_database_url, TABLE)
    api = start_api(empty_database_url, module="tests.support.api_with_test_routes")

    def mark(query: str) -> int:
        return patient.post(f"{api.url}/test/marks?{query}").status_code

    assert mark("name=written") == 200
    assert mark("name=failed&fail=true") == 500
    assert mark("name=failed-at-commit&fail_at_commit=true") == 500  # 200, if it were committed after the response
    assert databases.fetch_value(empty_database_url, MARKS) == "written"


def test_requests_that_count_a_limit_in_a_transaction_finish(start_api: StartApi, database_url: str) -> None:
    """Each holds a connection of the requests' pool and waits for one of the limiter's pool, so none deadlocks."""
    sizes = {"DATABASE_POOL_SIZE": "2", "DATABASE_BACKGROUND_POOL_SIZE": "1"}
    api = start_api(database_url, module="tests.support.api_with_test_routes", **sizes)

    with ThreadPoolExecutor(20) as threads:
        url = f"{api.url}/test/statement-and-limit"
        statuses = list(threads.map(lambda _: patient.get(url).status_code, range(20)))
    assert statuses == [200] * 20
