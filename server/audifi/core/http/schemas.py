"""What the schemas of all features are made of."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field


class Schema(BaseModel):
    """What travels. The docstring below a field is its description in the contract."""

    model_config = ConfigDict(use_attribute_docstrings=True)


class Body(Schema):
    """What clients send: fields that aren't known are refused."""

    model_config = ConfigDict(extra="forbid")


Id = Annotated[UUID, Field(examples=["01930b5a-7c1e-7d3f-8a52-6f0e4b9c2d17"])]
"""UUIDv7 (RFC 9562, 5.7): the order of ids is that in which they were made."""
Instant = Annotated[datetime, Field(examples=["2026-01-31T12:00:00.123456Z"])]
"""RFC 3339, UTC."""

PageLimit = Annotated[int, Query(ge=1, le=100, description="How many at most.", examples=[20])]
Cursor = Annotated[
    UUID | None,
    Query(
        description="`next_cursor` of the page before; without it, the first page.",
        examples=["01930b5a-7c1e-7d3f-8a52-6f0e4b9c2d17"],
    ),
]


class Page[Item](Schema):
    """A part of a list, the newest first. All lists have this shape."""

    data: list[Item]
    """What is on this page."""
    next_cursor: str | None = Field(examples=["01930b5a-7c1e-7d3f-8a52-6f0e4b9c2d17"])
    """Give it as `cursor` to get what follows; null at the end."""
