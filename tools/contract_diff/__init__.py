"""Compares the committed OpenAPI document with the previous release's."""

from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
DOCUMENT = "server/openapi.json"
ALLOWED = "server/openapi.breaks.toml"
