"""`If-Match` and `ETag`."""

import asyncio

import pytest
from fastapi import Response

from audifi.core.http.conditional import expected_version, set_etag
from audifi.core.http.problems import Problem


def test_etag_of_a_version_is_its_if_match() -> None:
    response = Response()
    set_etag(response, 12)

    assert asyncio.run(expected_version(response.headers["etag"])) == 12


@pytest.mark.parametrize("header", ["", "*", "12", 'W/"12"', '"12", "13"', '"x"', '"-1"', '"1234567890"'])
def test_other_etags_fail_the_precondition(header: str) -> None:
    with pytest.raises(Problem, match=r"412 precondition\.failed"):
        asyncio.run(expected_version(header))


def test_missing_if_match_is_required() -> None:
    with pytest.raises(Problem, match=r"428 precondition\.required"):
        asyncio.run(expected_version(None))
