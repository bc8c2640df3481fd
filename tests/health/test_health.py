import asyncio
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

import audifi
from audifi.health.probe import DatabaseProbe
from audifi.health.router import PATH
from dev.postgres import Postgres
from tests.support import databases, patient
from tests.support.app import App
from tests.support.fixtures import StartApi, StartApp
from tests.support.waiting import wait_until


def test_health_is_as_specified(app: App) -> None:
    answer = app.http.get(PATH)

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert list(body) == ["status", "timestamp", "version", "dependencies"]
    assert body["status"] == "ok"
    assert body["version"] == audifi.__version__
    assert body["dependencies"] == {"database": "connected"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", body["timestamp"])
    assert abs(datetime.fromisoformat(body["timestamp"]) - datetime.now(UTC)) < timedelta(seconds=5)


def test_health_is_not_cached(app: App) -> None:
    assert app.http.get(PATH).headers["cache-control"] == "no-store"


def test_head_answers_as_get_without_body(app: App) -> None:
    head = patient.head(f"{app.url}{PATH}")
    get = app.http.get(PATH)

    assert (head.status_code, head.content) == (200, b"")
    ignored = {"date", "x-request-id"}
    assert {k: v for k, v in head.headers.items() if k not in ignored} == {
        k: v for k, v in get.headers.items() if k not in ignored
    }


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_other_methods_are_not_allowed(app: App, method: str) -> None:
    answer = patient.request(method, f"{app.url}{PATH}")

    assert answer.status_code == 405
    assert {m.strip() for m in answer.headers["allow"].split(",")} == {"GET", "HEAD"}


def test_trailing_slash_is_not_found(app: App) -> None:
    assert patient.get(f"{app.url}{PATH}/").status_code == 404


def test_version_has_the_commit_of_the_image(start_api: StartApi, database_url: str) -> None:
    api = start_api(database_url, AUDIFI_COMMIT="1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d")

    assert api.get_health().json()["version"] == f"{audifi.__version__}+1a2b3c4"


def test_contract_has_health_once_with_both_answers(app: App) -> None:
    paths = patient.get(f"{app.url}/openapi.json").json()["paths"]

    assert list(paths["/api/v1/health"]) == ["get"]
    assert {"200", "503"} <= set(paths["/api/v1/health"]["get"]["responses"])


def test_read_only_database_is_degraded(start_app: StartApp, migrated_database_url: str) -> None:
    app = start_app(f"{migrated_database_url}&options=-c%20default_transaction_read_only%3Don")
    health = app.http.get(PATH)

    assert (health.status_code, health.json()["status"]) == (200, "degraded")
    assert health.json()["dependencies"] == {"database": "read_only"}


async def answers() -> bool:
    return True


async def fails() -> bool:
    return False


async def is_busy() -> bool:
    await asyncio.Event().wait()
    return False


@pytest.mark.parametrize(("pool", "state"), [(answers, "saturated"), (fails, "disconnected"), (is_busy, "saturated")])
def test_full_database_is_saturated_if_the_pool_works(
    postgres_server: Postgres, pool: Callable[[], Awaitable[bool]], state: str
) -> None:
    role = f"role_{uuid4().hex}"
    databases.execute(postgres_server.url(), f"CREATE ROLE {role} LOGIN CONNECTION LIMIT 0")
    settings = databases.settings_for(postgres_server.url().replace("//postgres@", f"//{role}@"))
    results: list[str] = []

    async def run() -> str:
        return await DatabaseProbe(settings, is_pool_reachable=pool, on_result=results.append).database_state()

    assert asyncio.run(run()) == state
    assert results == [state]


def test_health_shows_outage_and_recovery(
    start_app: StartApp, postgres_server: Postgres, migrated_database_url: str
) -> None:
    app = start_app(migrated_database_url)
    name = re.search(r"test_\w+", migrated_database_url)
    assert name

    def status() -> str:
        health = app.http.get(PATH).json()
        return f"{health['status']}, {health['dependencies']['database']}"

    assert status() == "ok, connected"
    databases.execute(postgres_server.url(), f"ALTER DATABASE {name[0]} ALLOW_CONNECTIONS false")
    wait_until(lambda: status() == "degraded, disconnected")
    databases.execute(postgres_server.url(), f"ALTER DATABASE {name[0]} ALLOW_CONNECTIONS true")
    wait_until(lambda: status() == "ok, connected")
