"""What a person finds, or a machine, that comes without knowing the API."""

import re
from collections.abc import Callable

import httpx2
import pytest

from tests.support.api import Api
from tests.support.app import App

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


def test_a_person_is_told_where_they_are(health_api: Api) -> None:
    answer = httpx2.get(health_api.url, headers=BROWSER)

    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["vary"] == "Accept, Origin"
    for path in ("/docs", "/openapi.json", "/api/v1/health"):
        assert f'href="{path}"' in answer.text
        assert httpx2.get(health_api.url + path).status_code == 200
    assert 'href="https://app.audifi.test"' in answer.text


@pytest.mark.parametrize("accept", ["*/*", "application/json", ""])
def test_a_machine_is_told_too(health_api: Api, accept: str) -> None:
    answer = httpx2.get(health_api.url, headers={"Accept": accept})

    assert answer.json() == {
        "name": "AudiFi API",
        "version": health_api.get_health().json()["version"],
        "documentation": "/docs",
        "openapi": "/openapi.json",
        "health": "/api/v1/health",
    }
    assert answer.headers["vary"] == "Accept, Origin"


def test_who_asks_for_the_head_alone_gets_it(health_api: Api) -> None:
    assert httpx2.head(health_api.url).status_code == 200


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_nothing_on_a_page_comes_from_elsewhere(health_api: Api, path: str) -> None:
    """The browser is told so, too."""
    answer = httpx2.get(health_api.url + path, headers=BROWSER)

    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["frame-ancestors"] == "'none'"
    assert "http" not in answer.headers["content-security-policy"]
    loaded = re.findall(r'(?:src|rel="stylesheet" href)="([^"]*)"', answer.text)
    assert loaded
    for file in loaded:
        assert file.startswith("/")
        asset = httpx2.get(health_api.url + file)
        assert asset.status_code == 200
        assert asset.headers["content-type"].split(";")[0] in {"text/css", "text/javascript"}
        assert asset.headers["x-content-type-options"] == "nosniff"
    assert not re.search(r"<(script|style)>|\son\w+=", answer.text)


def test_assets_arent_sent_twice(health_api: Api) -> None:
    url = f"{health_api.url}/docs/assets/swagger-ui.css"
    tag = httpx2.get(url).headers["etag"]

    assert httpx2.get(url, headers={"If-None-Match": tag}).status_code == 304


@pytest.mark.parametrize(
    "path", ["/docs/assets/../../settings.py", "/docs/assets/%2e%2e/core.py", "/docs/assets/", "/docs/assets/nothing"]
)
def test_nothing_but_the_assets_can_be_had(health_api: Api, path: str) -> None:
    answer = httpx2.get(health_api.url + path)

    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("path", ["/docs", "/docs/start.js", "/docs/assets/swagger-ui.css", "/openapi.json"])
def test_documentation_can_be_turned_off(start_app: Callable[..., App], database_url: str, path: str) -> None:
    app = start_app(database_url, docs_enabled=False)

    answer = app.http.get(path)

    assert answer.status_code == 404
    assert answer.json()["code"] == "not_found"
    assert "documentation" not in app.http.get("/").json()
    assert "/docs" not in app.http.get("/", headers=BROWSER).text


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_a_page_that_the_browser_has_keeps_its_policy(health_api: Api, path: str) -> None:
    """A cache takes the headers of a 304 for those of what it has."""
    first = httpx2.get(health_api.url + path, headers=BROWSER)
    again = httpx2.get(health_api.url + path, headers=BROWSER | {"If-None-Match": first.headers["etag"]})

    assert again.status_code == 304
    assert again.headers["content-security-policy"] == first.headers["content-security-policy"]


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("text/html", "text/html"),
        ("TEXT/HTML", "text/html"),
        ("text/*", "text/html"),
        ("application/json;q=0.5, text/html", "text/html"),
        ("text/html;q=0", "application/json"),
        ("application/json, text/html;q=0.1", "application/json"),
        ("text/htmlx", "application/json"),
        ("text/html;q=nonsense", "application/json"),
        (",;,", "application/json"),
    ],
)
def test_who_asks_gets_what_they_would_rather_have(health_api: Api, accept: str, media_type: str) -> None:
    answer = httpx2.get(health_api.url, headers={"Accept": accept})

    assert answer.headers["content-type"].split(";")[0] == media_type


@pytest.mark.parametrize("path", ["/docs", "/docs/start.js", "/home.css", "/docs/assets/swagger-ui.css"])
def test_the_head_of_each_page_can_be_had(health_api: Api, path: str) -> None:
    assert httpx2.head(health_api.url + path).status_code == 200


@pytest.mark.parametrize("wanted", ["bytes=99999999-", "foo", "bytes=0-9"])
def test_assets_are_sent_whole(health_api: Api, wanted: str) -> None:
    answer = httpx2.get(f"{health_api.url}/docs/assets/swagger-ui.css", headers={"Range": wanted})

    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "private, no-cache"


def test_assets_can_only_be_read(health_api: Api) -> None:
    answer = httpx2.post(f"{health_api.url}/docs/assets/swagger-ui.css")

    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, HEAD"
    assert answer.json()["code"] == "method_not_allowed"
