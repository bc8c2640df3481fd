"""The client's address and scheme, from Fly's proxy alone."""

from collections.abc import Iterator

import pytest

from tests.support import api as apis
from tests.support import patient
from tests.support.api import Api
from tests.support.fixtures import StartApi

TEST_ROUTES = "tests.support.api_with_test_routes"
CLIENT = {
    "Fly-Client-IP": "203.0.113.7",
    "X-Forwarded-For": "198.51.100.1, 203.0.113.7, 66.241.125.1",  # a client's own, the client, the app's address
    "X-Forwarded-Proto": "https",
    "Fly-Forwarded-Proto": "https",
}


def seen(api: Api, headers: dict[str, str]) -> dict[str, str]:
    body: dict[str, str] = patient.get(f"{api.url}/test/client", headers=headers).json()
    return body


@pytest.fixture(scope="module")
def behind_fly(tmp_path_factory: pytest.TempPathFactory, database_url: str) -> Iterator[Api]:
    variables = {"DATABASE_URL": database_url, "TRUSTED_PROXIES": "172.16.0.0/12,127.0.0.0/8"}
    with apis.running(tmp_path_factory.mktemp("api"), TEST_ROUTES, **variables) as api:
        yield api


def test_client_and_scheme_come_from_fly(behind_fly: Api) -> None:
    assert seen(behind_fly, CLIENT) == {"host": "203.0.113.7", "scheme": "https"}
    assert seen(behind_fly, CLIENT | {"Fly-Client-IP": "2001:db8::7"})["host"] == "2001:db8::7"
    assert seen(behind_fly, CLIENT | {"Fly-Client-IP": "::ffff:203.0.113.7"})["host"] == "203.0.113.7"


def test_x_forwarded_proto_replaces_missing_fly_header(behind_fly: Api) -> None:
    assert seen(behind_fly, {"X-Forwarded-Proto": "https"})["scheme"] == "https"


def test_x_forwarded_for_is_ignored(behind_fly: Api) -> None:
    assert seen(behind_fly, {"X-Forwarded-For": "198.51.100.1"})["host"] == "127.0.0.1"


@pytest.mark.parametrize(
    "address", ["", "not an address", "203.0.113.7, 198.51.100.1", "203.0.113.7:80", "fe80::1%<b>"]
)
def test_invalid_address_is_ignored(behind_fly: Api, address: str) -> None:
    assert seen(behind_fly, {"Fly-Client-IP": address})["host"] == "127.0.0.1"


@pytest.mark.parametrize("scheme", ["javascript", "https,http", ""])
def test_invalid_scheme_is_ignored(behind_fly: Api, scheme: str) -> None:
    assert seen(behind_fly, {"Fly-Forwarded-Proto": scheme})["scheme"] == "http"


@pytest.mark.parametrize("fly", [{}, {"FLY_APP_NAME": "audifi-api"}])
def test_only_flys_proxy_is_trusted(start_api: StartApi, database_url: str, fly: dict[str, str]) -> None:
    """On Fly the proxy comes from 172.16.0.0/12; elsewhere there is none."""
    api = start_api(database_url, module=TEST_ROUTES, **fly)

    assert seen(api, CLIENT) == {"host": "127.0.0.1", "scheme": "http"}
