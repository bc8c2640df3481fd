"""The health response."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from audifi.core.http.schemas import ResponseModel


class Dependencies(ResponseModel):
    """The state of the services that the server needs."""

    database: Literal["connected", "disconnected"] = Field(examples=["connected"])
    """Whether PostgreSQL answers."""


class Health(ResponseModel):
    """The state of the server."""

    status: Literal["ok", "degraded"] = Field(examples=["ok"])
    """`ok` with 200, `degraded` with 503."""
    timestamp: datetime = Field(examples=["2026-01-31T12:00:00Z"])
    """The time of the response: RFC 3339, UTC, whole seconds."""
    version: str = Field(examples=["0.1.0+1a2b3c4"])
    """Semantic version; in an image with the build's commit as build metadata."""
    dependencies: Dependencies
    """The state of each dependency."""
