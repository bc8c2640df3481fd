"""The feature as `audifi.app` lists it."""

from fastapi import APIRouter

from audifi.core.feature import Feature
from audifi.resale import router
from audifi.resale.invariants import INVARIANTS
from audifi.resale.jobs import schedules

ROUTER = APIRouter()
for part in (router.public, router.router):
    ROUTER.routes.extend(part.routes)

FEATURE = Feature(
    name="resale",
    description="Shares that their holders sell to others, and the parts of artists and first buyers.",
    router=ROUTER,
    schedules=schedules,
    invariants=INVARIANTS,
)
