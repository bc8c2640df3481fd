"""The feature as `audifi.app` lists it."""

from audifi.auth import jobs
from audifi.auth.invariants import INVARIANTS
from audifi.auth.router import router
from audifi.core.feature import Feature

FEATURE = Feature(
    name="auth",
    description="Sign-in, sessions, and the account itself.",
    router=router,
    jobs=jobs.job_types,
    retention=jobs.expired,
    invariants=INVARIANTS,
    cli="audifi.auth.cli:users",
    cli_name="users",
)
