"""The feature as `audifi.app` lists it."""

from audifi.core.feature import Feature
from audifi.ledger import jobs
from audifi.ledger.invariants import INVARIANTS
from audifi.ledger.router import router

FEATURE = Feature(
    name="ledger",
    description="The double-entry ledger: balances, statements, reversals.",
    router=router,
    schedules=jobs.schedules,
    invariants=INVARIANTS,
    cli="audifi.ledger.cli:ledger",
)
