"""The feature as `audifi.app` lists it."""

from audifi.core.feature import Feature
from audifi.royalties import jobs
from audifi.royalties.deletion import discard_statements
from audifi.royalties.invariants import INVARIANTS
from audifi.royalties.measures import MEASURES
from audifi.royalties.router import router

FEATURE = Feature(
    name="royalties",
    description="Royalties: statements of distributors, matched with masters and recorded as revenue.",
    measures=MEASURES,
    router=router,
    jobs=jobs.job_types,
    retention=jobs.retention,
    clean_up=jobs.clean_up,
    invariants=INVARIANTS,
    deletion_guard=discard_statements,
    cli="audifi.royalties.cli:royalties",
)
