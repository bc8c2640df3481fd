"""Bounds of what an account can upload and keep."""

from datetime import timedelta

from fastapi import Depends

from audifi.auth.dependencies import account_key
from audifi.core.http.rate_limits import rate_limited
from audifi.core.rate_limiting.limits import Limit
from audifi.royalties.lines import MAX_LINES

STATEMENTS = Limit("royalty-statements", 20, per=timedelta(days=1))
WRITES = [Depends(rate_limited(Limit("royalty-writes", 300, per=timedelta(hours=1)), key=account_key))]
"""Dependencies of the routes that write."""

MAX_BYTES = 100 << 20
MAX_AT_ONCE = 3
MAX_ACCOUNT_LINES = 10 * MAX_LINES
"""Stored lines of an account, each of them about 300 bytes with its indexes; statements under way count in full."""
LINES_KEPT = timedelta(days=400)
"""After the import: this month and the same month of the year before can be compared. Totals are never deleted."""
ENDED_KEPT = timedelta(days=30)
"""Failed and discarded statements, after they began."""
ABANDONED_AFTER = timedelta(hours=24)
MAX_MATCHED = 100_000
"""Lines that one request matches by hand."""
