"""The feature as `audifi.app` lists it."""

from fastapi import APIRouter

from audifi.core.feature import Feature
from audifi.payments import (
    admin_router,
    connect,
    customers,
    disputes,
    jobs,
    money_router,
    payout_syncs,
    refunds,
    router,
    sessions,
    webhook_router,
)
from audifi.payments.invariants import INVARIANTS
from audifi.payments.measures import MEASURES
from audifi.payments.retention import expired

ROUTER = APIRouter()
for part in (router.router, money_router.router, webhook_router.router, admin_router.router):
    ROUTER.routes.extend(part.routes)

FEATURE = Feature(
    name="payments",
    description="Payments through Stripe: checkouts, deposits, refunds and payouts.",
    measures=MEASURES,
    router=ROUTER,
    jobs=jobs.jobs,
    schedules=jobs.schedules,
    retention=expired,
    invariants=INVARIANTS,
    syncs=(customers.SYNC, sessions.SYNC, refunds.SYNC, disputes.SYNC, connect.SYNC, *payout_syncs.SYNCS),
    cli="audifi.payments.cli:payments",
    deletion_guard=jobs.leave_payments,
)
