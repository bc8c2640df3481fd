"""The feature as `audifi.app` lists it."""

from fastapi import APIRouter

from audifi.core.feature import Feature
from audifi.dividends import revenue_router, router
from audifi.dividends.claims import refuse_to_lose_dividends
from audifi.dividends.invariants import INVARIANTS
from audifi.dividends.jobs import schedules
from audifi.dividends.measures import MEASURES

ROUTER = APIRouter()
for part in (revenue_router.router, router.router):
    ROUTER.routes.extend(part.routes)

FEATURE = Feature(
    name="dividends",
    description="Revenue of masters, its distribution among the holders of shares, and their claims.",
    measures=MEASURES,
    router=ROUTER,
    schedules=schedules,
    invariants=INVARIANTS,
    deletion_guard=refuse_to_lose_dividends,
    cli="audifi.dividends.cli:dividends",
)
