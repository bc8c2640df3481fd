"""Limits concurrent requests; the rest wait a second, then get 503 (docs/decisions/0019-concurrency-limit.md)."""

import asyncio
import logging
import time
from itertools import cycle

from audifi.core.http import problems
from audifi.core.http.problems import Problem

logger = logging.getLogger(__name__)

WAIT_SECONDS = 1.0
MAX_WAITING = 1000
"""Bounds memory. fly.toml's hard_limit allows fewer, as long as Fly's proxy is in front."""
LOG_INTERVAL_SECONDS = 1
RETRY_AFTER_SECONDS = range(1, 6)  # in turn, so that rejected clients don't return together


class ConcurrencyLimit:
    """Limits the requests in flight, from the end of their body to the start of their response.

    Slow clients occupy no place while they send the body or read the response. Requests above the limit wait in order
    of arrival. Rejecting them immediately would be worse: clients retry immediately, and rejections cost time, too.
    """

    def __init__(self, max_in_flight: int) -> None:
        self.max_in_flight = max_in_flight
        self.in_flight = 0
        self.waiting = 0
        self.rejected = 0
        self._places = asyncio.Semaphore(max_in_flight)
        self._logged = 0
        self._log_at = 0.0
        self._retry_after = cycle(RETRY_AFTER_SECONDS)

    async def acquire(self) -> None:
        """Take a place; `release` gives it back.

        Raises:
            Problem: 503, if there was none in WAIT_SECONDS.
        """
        if self._places.locked():
            await self._wait()
        else:
            await self._places.acquire()
        self.in_flight += 1

    def release(self) -> None:
        self.in_flight -= 1
        self._places.release()

    async def _wait(self) -> None:
        if self.waiting >= MAX_WAITING:
            raise self._rejection()
        self.waiting += 1
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await self._places.acquire()
        except TimeoutError:
            raise self._rejection() from None
        finally:
            self.waiting -= 1

    def _rejection(self) -> Problem:
        self.rejected += 1
        now = time.monotonic()
        if now >= self._log_at:  # not a line per rejection
            logger.warning("overloaded: in_flight=%d rejected=%d", self.in_flight, self.rejected - self._logged)
            self._logged, self._log_at = self.rejected, now + LOG_INTERVAL_SECONDS
        return problems.overloaded(next(self._retry_after))
