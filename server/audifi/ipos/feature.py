"""The feature as `audifi.app` lists it."""

from fastapi import APIRouter

from audifi.core.feature import Feature
from audifi.ipos import catalogue, router, shares
from audifi.ipos.deletion import delete_drafts
from audifi.ipos.invariants import INVARIANTS
from audifi.ipos.jobs import job_types, schedules
from audifi.ipos.measures import MEASURES

ROUTER = APIRouter()
for part in (catalogue.router, shares.router, router.public, router.router):
    ROUTER.routes.extend(part.routes)

FEATURE = Feature(
    name="ipos",
    description="Offerings of a master's shares: terms, launch, purchases, and who holds the shares.",
    measures=MEASURES,
    router=ROUTER,
    jobs=job_types,
    schedules=schedules,
    invariants=INVARIANTS,
    deletion_guard=delete_drafts,
    cli="audifi.ipos.cli:ipos",
)
