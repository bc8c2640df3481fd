import re
from datetime import UTC, datetime, timedelta

import httpx2
import pytest
from fastapi import FastAPI

import audifi
from audifi.health.router import PATH, router
from dev.postgres import Postgres
from tests.support import databases
from tests.support.app import App, serving
from tests.support.fixtures import StartApi, StartApp
from tests.support.waiting import wait_until


def test_health_is_exactly_what_the_specification_shows(app: App) -> None:
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


def test_health_is_never_stored(app: App) -> None:
    assert app.http.get(PATH).headers["cache-control"] == "no-store"


def test_head_answers_as_get_does_without_a_body(app: App) -> None:
    head = httpx2.head(f"{app.url}{PATH}")
    get = app.http.get(PATH)

    assert (head.status_code, head.content) == (200, b"")
    ignored = {"date", "x-request-id"}
    assert {k: v for k, v in head.headers.items() if k not in ignored} == {
        k: v for k, v in get.headers.items() if k not in ignored
    }


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_health_takes_no_other_method(app: App, method: str) -> None:
    answer = httpx2.request(method, f"{app.url}{PATH}")

    assert answer.status_code == 405
    assert {m.strip() for m in answer.headers["allow"].split(",")} == {"GET", "HEAD"}


def test_a_path_beside_it_is_not_found_rather_than_redirected(app: App) -> None:
    assert httpx2.get(f"{app.url}{PATH}/").status_code == 404


def test_the_version_carries_the_commit_that_the_image_was_built_from(start_api: StartApi, database_url: str) -> None:
    api = start_api(database_url, AUDIFI_COMMIT="1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d")

    assert api.get_health().json()["version"] == f"{audifi.__version__}+1a2b3c4"


def test_the_documentation_lists_health_once_with_both_answers(app: App) -> None:
    paths = httpx2.get(f"{app.url}/openapi.json").json()["paths"]

    assert list(paths["/api/v1/health"]) == ["get"]
    assert {"200", "503"} <= set(paths["/api/v1/health"]["get"]["responses"])


def test_route_answers_as_the_middleware_ahead_of_it_does(app: App) -> None:
    alone = FastAPI(version=app.asgi.version)
    alone.include_router(router)
    alone.state = app.asgi.state
    app.clock.stop()

    with serving(alone) as url:
        answers = [httpx2.get(f"{each}{PATH}") for each in (url, app.url)]

    assert answers[0].content == answers[1].content
    assert answers[0].headers["cache-control"] == answers[1].headers["cache-control"]


def test_health_tells_when_an_outage_begins_and_ends(
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
