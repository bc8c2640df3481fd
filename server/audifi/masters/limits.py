"""Rate limits of masters."""

from datetime import timedelta

from fastapi import Depends

from audifi.auth.dependencies import account_key
from audifi.core.http.rate_limits import rate_limited
from audifi.core.rate_limiting.limits import Limit

UPLOADS = Limit("master-uploads", 20, per=timedelta(days=1))
WRITES = [Depends(rate_limited(Limit("master-writes", 300, per=timedelta(hours=1)), key=account_key))]
"""Dependencies of the routes that write. Confirmations and events are kept as long as the master."""
