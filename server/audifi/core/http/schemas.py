"""Base classes and types of all features' schemas."""

from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from fastapi import Query
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from audifi.core.db.pagination import CURSOR_MAX_LENGTH


class ResponseModel(BaseModel):
    """A response. The docstring below a field is its description in the contract."""

    model_config = ConfigDict(use_attribute_docstrings=True)


class RequestModel(ResponseModel):
    """A request's body. Unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")


def _within_calendar(value: datetime) -> datetime:
    try:
        value.astimezone(UTC)
    except OverflowError:
        raise ValueError("must be between the years 1 and 9999 in UTC") from None
    return value


Id = Annotated[UUID, Field(examples=["01930b5a-7c1e-7d3f-8a52-6f0e4b9c2d17"])]
"""UUIDv7 (RFC 9562, 5.7): ids sort by creation time."""
Instant = Annotated[datetime, Field(examples=["2026-01-31T12:00:00.123456Z"])]
"""RFC 3339, UTC."""
RequestInstant = Annotated[AwareDatetime, AfterValidator(_within_calendar)]
"""RFC 3339, with any offset."""

PageLimit = Annotated[int, Query(ge=1, le=100, description="Maximum number of items.", examples=[20])]
EXAMPLE_CURSOR = "yY2bX1a0TqWkGm0Q1Zr3nltbInUiLCIwMTkzMGI1YSJdXQ"
Cursor = Annotated[
    str | None,
    Query(
        max_length=CURSOR_MAX_LENGTH,
        description="`next_cursor` of the previous page, with the same sort and filters. Without it, the first page.",
        examples=[EXAMPLE_CURSOR],
    ),
]


class Page[Item](ResponseModel):
    """A part of a list. All lists have this shape."""

    data: list[Item]
    """The items of this page."""
    next_cursor: str | None = Field(examples=[EXAMPLE_CURSOR])
    """The `cursor` of the next page; null at the end."""


MAX_AMOUNT = 2**53 - 1
"""The largest integer that every JSON parser reads exactly (RFC 8259, 6)."""
Amount = Annotated[int, Field(strict=True, ge=1, le=MAX_AMOUNT, examples=[2500])]
"""A positive amount in base units: cents of a currency, whole shares. Never a float."""
SignedAmount = Annotated[int, Field(strict=True, ge=-MAX_AMOUNT, le=MAX_AMOUNT, examples=[-2500])]
"""The same, of either sign or zero."""
