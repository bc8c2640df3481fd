"""The health response."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from audifi.core.http.schemas import ResponseModel

DatabaseState = Literal["connected", "read_only", "saturated", "disconnected"]


class Dependencies(ResponseModel):
    """The state of the services that the server needs."""

    database: DatabaseState = Field(examples=["connected"])
    """`connected`: it answers. `read_only`: it answers and refuses writes. `saturated`: it accepts no more connections,
    and this server's pooled connections work. `disconnected`: it doesn't answer, and the status is 503."""


class Health(ResponseModel):
    """The state of the server."""

    status: Literal["ok", "degraded"] = Field(examples=["ok"])
    """`ok`; `degraded` with 200 if some requests fail, with 503 if all that need the database fail."""
    timestamp: datetime = Field(examples=["2026-01-31T12:00:00Z"])
    """The time of the response: RFC 3339, UTC, whole seconds."""
    version: str = Field(examples=["0.1.0+1a2b3c4"])
    """Semantic version; in an image with the build's commit as build metadata."""
    dependencies: Dependencies
    """The state of each dependency."""
