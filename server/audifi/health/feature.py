"""The feature as `audifi.app` lists it."""

from audifi.core.feature import Feature
from audifi.health.router import router

FEATURE = Feature(name="health", description="Whether the server can serve.", router=router)
