import re
from datetime import UTC, datetime, timedelta

import httpx2
import pytest

import audifi
from tests.support.api import Api
from tests.support.fixtures import StartApi


def test_health_is_exactly_what_the_specification_shows(health_api: Api) -> None:
    answer = health_api.get_health()

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert list(body) == ["status", "timestamp", "version", "dependencies"]
    assert body["status"] == "ok"
    assert body["version"] == audifi.__version__
    assert body["dependencies"] == {"database": "connected"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", body["timestamp"])
    assert abs(datetime.fromisoformat(body["timestamp"]) - datetime.now(UTC)) < timedelta(seconds=5)


def test_health_is_never_stored(health_api: Api) -> None:
    assert health_api.get_health().headers["cache-control"] == "no-store"


def test_head_answers_as_get_does_without_a_body(health_api: Api) -> None:
    head = httpx2.head(f"{health_api.url}/api/v1/health")
    get = health_api.get_health()

    assert (head.status_code, head.content) == (200, b"")
    ignored = {"date", "x-request-id"}
    assert {k: v for k, v in head.headers.items() if k not in ignored} == {
        k: v for k, v in get.headers.items() if k not in ignored
    }


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_health_takes_no_other_method(health_api: Api, method: str) -> None:
    answer = httpx2.request(method, f"{health_api.url}/api/v1/health")

    assert answer.status_code == 405
    assert {m.strip() for m in answer.headers["allow"].split(",")} == {"GET", "HEAD"}


def test_a_path_beside_it_is_not_found_rather_than_redirected(health_api: Api) -> None:
    assert httpx2.get(f"{health_api.url}/api/v1/health/").status_code == 404


def test_the_version_carries_the_commit_that_the_image_was_built_from(start_api: StartApi, database_url: str) -> None:
    api = start_api(database_url, AUDIFI_COMMIT="1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d")

    assert api.get_health().json()["version"] == f"{audifi.__version__}+1a2b3c4"


def test_the_documentation_lists_health_once_with_both_answers(health_api: Api) -> None:
    paths = httpx2.get(f"{health_api.url}/openapi.json").json()["paths"]

    assert list(paths["/api/v1/health"]) == ["get"]
    assert {"200", "503"} <= set(paths["/api/v1/health"]["get"]["responses"])
