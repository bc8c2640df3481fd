"""`GET /` and `/docs`."""

import re
from collections.abc import Callable

import pytest

from tests.support import patient
from tests.support.api import Api
from tests.support.app import App

ASSET = "/docs/assets/swagger-ui.css"


@pytest.mark.parametrize("accept", ["*/*", "text/html"])
def test_root_names_version_and_links(health_api: Api, accept: str) -> None:
    response = patient.get(health_api.url, headers={"Accept": accept})

    assert response.json() == {
        "name": "AudiFi API",
        "version": health_api.get_health().json()["version"],
        "links": {"health": "/api/v1/health", "documentation": "/docs", "openapi": "/openapi.json"},
    }
    for path in response.json()["links"].values():
        assert patient.get(health_api.url + path).status_code == 200


@pytest.mark.parametrize("path", ["/", "/docs", "/docs/style.css", "/docs/start.js", ASSET])
def test_head_is_answered(health_api: Api, path: str) -> None:
    assert patient.head(health_api.url + path).status_code == 200


def test_docs_page_loads_nothing_from_elsewhere(health_api: Api) -> None:
    response = patient.get(f"{health_api.url}/docs")

    policy = dict(part.strip().split(" ", 1) for part in response.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == policy["frame-ancestors"] == "'none'"
    assert "http" not in response.headers["content-security-policy"]
    urls = re.findall(r'(?:src|rel="stylesheet" href)="([^"]*)"', response.text)
    assert urls
    for url in urls:
        assert url.startswith("/")
        asset = patient.get(health_api.url + url)
        assert asset.status_code == 200
        assert asset.headers["content-type"].split(";")[0] in {"text/css", "text/javascript"}
        assert asset.headers["x-content-type-options"] == "nosniff"
    assert not re.search(r"<(script|style)>|\son\w+=", response.text)


def test_cached_asset_is_revalidated(health_api: Api) -> None:
    first = patient.get(health_api.url + ASSET)

    assert first.headers["cache-control"] == "private, no-cache"
    assert patient.get(health_api.url + ASSET, headers={"If-None-Match": first.headers["etag"]}).status_code == 304


@pytest.mark.parametrize("requested", ["bytes=99999999-", "foo", "bytes=0-9"])
def test_asset_is_sent_whole(health_api: Api, requested: str) -> None:
    response = patient.get(health_api.url + ASSET, headers={"Range": requested})

    assert response.status_code == 200
    assert response.headers["accept-ranges"] == "none"


@pytest.mark.parametrize(
    "path", ["/docs/assets/../../settings.py", "/docs/assets/%2e%2e/core.py", "/docs/assets/", "/docs/assets/nothing"]
)
def test_only_assets_are_served(health_api: Api, path: str) -> None:
    response = patient.get(health_api.url + path)

    assert response.status_code == 404
    assert response.headers["content-type"] == "application/problem+json"


def test_assets_are_read_only(health_api: Api) -> None:
    response = patient.post(health_api.url + ASSET)

    assert response.status_code == 405
    assert response.headers["allow"] == "GET, HEAD"
    assert response.json()["code"] == "method_not_allowed"


@pytest.mark.parametrize("path", ["/docs", "/docs/style.css", "/docs/start.js", ASSET, "/openapi.json"])
def test_documentation_can_be_disabled(start_app: Callable[..., App], database_url: str, path: str) -> None:
    app = start_app(database_url, docs_enabled=False)

    assert app.http.get(path).status_code == 404
    assert app.http.get(path).json()["code"] == "not_found"
    assert app.http.get("/").json()["links"] == {"health": "/api/v1/health"}
