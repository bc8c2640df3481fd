"""The feature as `audifi.app` lists it."""

from audifi.core.feature import Feature
from audifi.notices import jobs
from audifi.notices.router import router
from audifi.notices.service import delete_notices, expired

FEATURE = Feature(
    name="notices",
    description="What happened to the account's masters, shares and money.",
    router=router,
    jobs=jobs.jobs,
    schedules=jobs.schedules,
    retention=lambda now: [expired(now)],
    deletion_guard=delete_notices,
)
