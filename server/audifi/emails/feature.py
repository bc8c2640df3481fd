"""The feature as `audifi.app` lists it."""

from audifi.core.feature import Feature
from audifi.emails.measures import MEASURES
from audifi.emails.records import expired
from audifi.emails.router import router

FEATURE = Feature(
    name="emails",
    description="Events about e-mails, from the provider that delivers them. Not for frontends.",
    measures=MEASURES,
    router=router,
    retention=expired,
    cli="audifi.emails.cli:emails",
)
