"""How often someone may try to sign in."""

from limits import RateLimitItemPerDay, RateLimitItemPerHour, RateLimitItemPerMinute

from audifi.core.rate_limiting.limiter import Limit

# In this order: what stops at one of them doesn't use up the next, which others share.
REQUESTS_PER_CLIENT = Limit(name="sign-in-client", item=RateLimitItemPerHour(20))
REQUESTS_PER_SITE = Limit(name="sign-in-site", item=RateLimitItemPerHour(60))
REQUESTS_PER_ADDRESS_AND_CLIENT = Limit(name="sign-in-address-client", item=RateLimitItemPerHour(5))
REQUESTS_PER_ADDRESS = Limit(name="sign-in-address", item=RateLimitItemPerDay(20))

VERIFIES_PER_CLIENT = Limit(name="verify-client", item=RateLimitItemPerMinute(30, 5))
REFRESHES_PER_SESSION = Limit(name="refresh-session", item=RateLimitItemPerMinute(60, 5))


def mails(per_hour: int) -> Limit:
    """For all together: what an attack can cost."""
    return Limit(name="sign-in-mails", item=RateLimitItemPerHour(per_hour))
