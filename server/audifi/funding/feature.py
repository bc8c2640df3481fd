"""The feature as `audifi.app` lists it."""

from audifi.core.feature import Feature
from audifi.funding import jobs
from audifi.funding.invariants import INVARIANTS
from audifi.funding.measures import MEASURES
from audifi.funding.router import router

FEATURE = Feature(
    name="funding",
    description="Money in and out: deposits, and payouts.",
    measures=MEASURES,
    router=router,
    schedules=jobs.schedules,
    invariants=INVARIANTS,
    cli="audifi.funding.cli:funding",
)
