from datetime import datetime
from typing import Literal

from pydantic import BaseModel


class Dependencies(BaseModel):
    database: Literal["connected", "disconnected"]


class Health(BaseModel):
    status: Literal["ok", "degraded"]
    timestamp: datetime
    """When it was asked: RFC 3339, UTC, whole seconds."""
    version: str
    """Semantic version; in an image with the build's commit as build metadata, as in 0.1.0+1a2b3c4."""
    dependencies: Dependencies
