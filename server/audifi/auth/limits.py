"""Rate limits of sign-in and of the account."""

from datetime import timedelta

from audifi.core.rate_limiting.limits import Limit

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)

# Checked in this order up to the first that is exceeded, so that one client can't exhaust the shared limits.
REQUESTS_PER_CLIENT = Limit("sign-in-client", 20, per=HOUR)
REQUESTS_PER_SITE = Limit("sign-in-site", 60, per=HOUR)
REQUESTS_PER_ADDRESS_AND_CLIENT = Limit("sign-in-address-client", 5, per=HOUR)
REQUESTS_PER_ADDRESS = Limit("sign-in-address", 20, per=DAY)

VERIFIES_PER_CLIENT = Limit("verify-client", 30, per=5 * MINUTE)
REFRESHES_PER_SESSION = Limit("refresh-session", 60, per=5 * MINUTE)


def emails(per_hour: int) -> Limit:
    """Return the limit on e-mails to all addresses together, which bounds the cost of an attack."""
    return Limit("sign-in-emails", per_hour, per=HOUR)


def account_changes(per_day: int) -> Limit:
    """Return the limit on changes of an account by its owner; each is recorded for a year."""
    return Limit("account-changes", per_day, per=DAY)
