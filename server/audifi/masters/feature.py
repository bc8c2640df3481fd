"""The feature as `audifi.app` lists it."""

from audifi.core.feature import Feature
from audifi.masters.deletion import delete_masters
from audifi.masters.invariants import INVARIANTS
from audifi.masters.router import router

FEATURE = Feature(
    name="masters",
    description="Masters: registration, rights, files, and the review before an offering.",
    router=router,
    invariants=INVARIANTS,
    cli="audifi.masters.cli:masters",
    deletion_guard=delete_masters,
)
