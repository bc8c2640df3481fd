"""What a line of the log tells of the request that it is about."""

import re

import httpx2

from tests.support.api import Api


def test_the_line_of_a_request_has_its_name(health_api: Api) -> None:
    httpx2.get(f"{health_api.url}/api/v1/somewhere", headers={"X-Request-ID": "of-the-log-1"})

    assert re.search(r'"GET /api/v1/somewhere HTTP/1.1" 404 \(request of-the-log-1\)$', health_api.log(), re.MULTILINE)


def test_a_line_that_is_about_no_request_names_none(health_api: Api) -> None:
    (started,) = [line for line in health_api.log().splitlines() if "listens on" in line]

    assert "(request" not in started
