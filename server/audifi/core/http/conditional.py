"""Optimistic concurrency with version numbers, `ETag` and `If-Match` (RFC 9110, 13.1.1)."""

import re
from typing import Annotated

from fastapi import Depends, Header, Response

from audifi.core.http.openapi import raises
from audifi.core.http.problems import Problem


def precondition_required() -> Problem:
    """RFC 6585, 3."""
    return Problem(
        428,
        "precondition.required",
        "Precondition required",
        "Send If-Match with the ETag of the version you read.",
    )


def precondition_failed() -> Problem:
    return Problem(
        412,
        "precondition.failed",
        "Precondition failed",
        "The resource was changed meanwhile. Read it again and repeat the change.",
    )


@raises(precondition_required(), precondition_failed())
async def expected_version(
    if_match: Annotated[
        str | None,
        Header(max_length=64, description="The ETag of the version to change.", examples=['"3"']),
    ] = None,
) -> int:
    """Return the version that the client read.

    Raises:
        Problem: 428 without If-Match, 412 if it isn't an ETag of this API.
    """
    if if_match is None:
        raise precondition_required()
    tag = re.fullmatch(r'"([0-9]{1,9})"', if_match)
    if tag is None:
        raise precondition_failed()
    return int(tag[1])


ExpectedVersion = Annotated[int, Depends(expected_version)]


def set_etag(response: Response, version: int) -> None:
    """Set the response's ETag to the row's version."""
    response.headers["ETag"] = f'"{version}"'
