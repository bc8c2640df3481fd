"""The feature as `audifi.app` lists it."""

from audifi.core.feature import Feature
from audifi.subscriptions import adjustments, invoices, jobs, notices, prices, syncs
from audifi.subscriptions.deletion import leave_plan
from audifi.subscriptions.invariants import INVARIANTS
from audifi.subscriptions.measures import MEASURES
from audifi.subscriptions.router import router

FEATURE = Feature(
    name="subscriptions",
    description="Plans, what the account pays for, what it may do, and what it uses.",
    measures=MEASURES,
    router=router,
    jobs=jobs.jobs,
    schedules=jobs.schedules,
    retention=lambda now: [notices.expired(now)],
    syncs=(prices.SYNC, syncs.SYNC, invoices.SYNC, adjustments.REFUND_SYNC, adjustments.DISPUTE_SYNC),
    invariants=INVARIANTS,
    deletion_guard=leave_plan,
    cli="audifi.subscriptions.cli:subscriptions",
)
