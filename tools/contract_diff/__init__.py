"""The OpenAPI document as it is committed: written from the code, and held to what clients were promised."""

from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
DOCUMENT = "server/openapi.json"
ALLOWED = "server/openapi.breaks.toml"
