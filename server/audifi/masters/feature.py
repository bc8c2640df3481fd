"""The feature as `audifi.app` lists it."""

from audifi.core.feature import Feature
from audifi.masters import jobs
from audifi.masters.deletion import delete_masters
from audifi.masters.files_router import router as files_router
from audifi.masters.invariants import INVARIANTS
from audifi.masters.router import rights_router, router

router.routes.extend([*files_router.routes, *rights_router.routes])

FEATURE = Feature(
    name="masters",
    description="Masters: registration, rights, files, and the review before an offering.",
    router=router,
    jobs=jobs.job_types,
    clean_up=jobs.clean_up,
    invariants=INVARIANTS,
    cli="audifi.masters.cli:masters",
    deletion_guard=delete_masters,
)
